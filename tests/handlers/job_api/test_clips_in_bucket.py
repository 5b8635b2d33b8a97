"""Clips in a bucket reach the caller through the API, as local clips do."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import soundfile as sf

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from tests.support.bucket_settings import bucket_settings
from tests.support.clips import wav
from tests.support.health_watch import peak_bytes
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.seaweedfs import BUCKET, SeaweedFS, seaweedfs


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with seaweedfs(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(scope="module")
def api(bucket: SeaweedFS) -> Iterator[JobServer]:
    with data_folder() as folder, job_server(folder, **bucket_settings(bucket)) as running:
        yield running


@pytest.fixture(scope="module")
def done(api: JobServer) -> dict[str, Any]:
    """Status of a completed job with its clip in the bucket."""
    return api.ended(api.submit(prompt="Calm piano!", seed=7, duration=2))


def _remove(bucket: SeaweedFS, job_id: str) -> None:
    admin = bucket.client()
    listed = admin.list_objects_v2(Bucket=BUCKET, Prefix=f"musicgen/{job_id}-")["Contents"]
    for item in listed:
        admin.delete_object(Bucket=BUCKET, Key=item["Key"])


def test_a_clip_comes_from_the_api_itself(api: JobServer, done: dict[str, Any]) -> None:
    """A redirect left `curl -o` with 0 bytes and the web page without a sound."""
    answer = api.http.get(done["audio_url"])
    clip = done["result"]["clips"][0]
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == clip["sha256"]
    assert answer.headers["content-length"] == str(clip["bytes"])
    assert answer.headers["content-disposition"] == 'inline; filename="calm-piano-7.wav"'
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["etag"] and answer.headers["last-modified"].endswith("GMT")
    saved = api.http.get(done["audio_url"], params={"download": True})
    assert saved.headers["content-disposition"].startswith("attachment;")
    assert api.http.get(f"/v1/audio/{done['job_id']}/stream").content == answer.content


def test_ranges_are_parts_of_the_object(api: JobServer, done: dict[str, Any]) -> None:
    whole = api.http.get(done["audio_url"])
    size = len(whole.content)

    def get(byte_range: str, **headers: str) -> httpx.Response:
        return api.http.get(done["audio_url"], headers={"Range": byte_range, **headers})

    for byte_range, part in (
        ("bytes=0-99", slice(0, 100)),
        (f"bytes={size - 10}-", slice(size - 10, size)),
        ("bytes=-20", slice(size - 20, size)),
        (f"bytes=100-{size * 2}", slice(100, size)),
    ):
        answer = get(byte_range)
        assert answer.status_code == 206
        assert answer.content == whole.content[part]
        assert answer.headers["content-range"] == f"bytes {part.start}-{part.stop - 1}/{size}"
    outside = get(f"bytes={size}-")
    assert outside.status_code == 416
    assert outside.headers["content-range"] == f"bytes */{size}"
    assert outside.json()["error"]["code"] == "range_not_satisfiable"
    assert get("bytes=nonsense").content == whole.content
    assert get("bytes=0-9", **{"If-Range": whole.headers["etag"]}).status_code == 206
    assert get("bytes=0-9", **{"If-Range": '"another"'}).content == whole.content


def test_odd_ranges_have_a_right_answer(api: JobServer, done: dict[str, Any]) -> None:
    """A continued download of another clip ended with 416, and so did the longest numbers."""
    whole = api.http.get(done["audio_url"])
    size = len(whole.content)

    def get(byte_range: str, **headers: str) -> httpx.Response:
        return api.http.get(done["audio_url"], headers={"Range": byte_range, **headers})

    for byte_range in ("bytes=5-2", f"bytes=0-{'9' * 30}", f"bytes=-{'9' * 30}", "bytes=0-1,5-6"):
        answer = get(byte_range)
        assert (answer.status_code, answer.content) == (200, whole.content)
    changed = get(f"bytes={size + 5}-", **{"If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert get(f"bytes={size + 5}-", **{"If-Range": whole.headers["etag"]}).status_code == 416


def test_a_clip_that_the_caller_has_is_not_sent_again(api: JobServer, done: dict[str, Any]) -> None:
    address, whole = done["audio_url"], api.http.get(done["audio_url"])
    etag, date = whole.headers["etag"], whole.headers["last-modified"]
    for condition in (
        {"If-None-Match": etag},
        {"If-Modified-Since": date},
        {"If-None-Match": etag, "Range": "bytes=999999999-"},
    ):
        answer = api.http.get(address, headers=condition)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    changed = api.http.get(address, headers={"If-None-Match": '"another"', "Range": "bytes=0-9"})
    assert (changed.status_code, changed.content) == (206, whole.content[:10])


def test_another_version_of_an_object_is_not_sent(api: JobServer, done: dict[str, Any]) -> None:
    address, whole = done["audio_url"], api.http.get(done["audio_url"])
    etag, date = whole.headers["etag"], whole.headers["last-modified"]
    early = "Sat, 01 Jan 2000 00:00:00 GMT"
    for conditions, status in (
        ({"If-Match": etag}, 200),
        ({"If-Match": etag, "Range": "bytes=0-9"}, 206),
        ({"If-Match": '"another"', "Range": "bytes=0-9"}, 412),
        ({"If-Match": '"another"', "Range": "bytes=999999999-"}, 412),
        ({"If-Unmodified-Since": date, "Range": "bytes=0-9"}, 206),
        ({"If-Unmodified-Since": early}, 412),
    ):
        answer = api.http.get(address, headers=conditions)
        assert answer.status_code == status, conditions
        head = api.http.head(address, headers=conditions)
        assert (head.status_code, head.content) == (200 if status == 206 else status, b"")


@pytest.mark.parametrize("extension", ["flac", "mp3", "ogg"])
def test_a_clip_in_the_bucket_is_converted(
    api: JobServer, done: dict[str, Any], extension: str, tmp_path: Path
) -> None:
    path = tmp_path / f"clip.{extension}"
    for _ in range(2):
        answer = api.http.get(f"/audio/{done['job_id']}.{extension}")
        assert answer.status_code == 200
        path.write_bytes(answer.content)
        assert sf.info(path).duration == pytest.approx(2, abs=0.1)
    assert f"calm-piano-7.{extension}" in answer.headers["content-disposition"]


def test_a_deleted_object_is_a_deleted_clip(api: JobServer, bucket: SeaweedFS) -> None:
    status = api.ended(api.submit())
    _remove(bucket, status["job_id"])
    for extension in ("wav", "mp3"):
        answer = api.http.get(f"/audio/{status['job_id']}.{extension}")
        assert answer.status_code == 404
        assert "deleted" in answer.json()["error"]["message"]


def test_a_bucket_that_is_away_is_said_so(api: JobServer, bucket: SeaweedFS) -> None:
    """The caller gets 503 with Retry-After, and the clip once the bucket is back."""
    status = api.ended(api.submit())
    bucket.stop()
    try:
        for extension in ("wav", "ogg"):
            answer = api.http.get(f"/audio/{status['job_id']}.{extension}")
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.json()["error"]["code"] == "bucket_unavailable"
        assert api.http.get("/readyz").status_code == 200
    finally:
        bucket.start()
    assert api.http.get(status["audio_url"]).status_code == 200


def test_an_upload_without_its_bucket_leaves_nothing(api: JobServer, bucket: SeaweedFS) -> None:
    """Half an upload would count against its owner's quota, or fill the disk."""
    sound = base64.b64encode(wav(1)).decode()
    before = _count_uploads(api, bucket)
    bucket.stop()
    try:
        for call in (
            {"url": "/v1/uploads", "content": wav(1)},
            {"url": "/generate", "json": {"prompt": "x", "input_audio": sound}},
        ):
            answer = api.http.post(**call)  # type: ignore[arg-type]
            assert answer.status_code == 503, answer.text
            assert answer.json()["error"]["code"] == "bucket_unavailable"
            assert bucket.url not in answer.text
        assert not list((api.folder / "uploads").iterdir())
    finally:
        bucket.start()
    assert _count_uploads(api, bucket) == before
    assert api.http.post("/v1/uploads", content=wav(1)).status_code == 201


def _count_uploads(api: JobServer, bucket: SeaweedFS) -> int:
    listed = bucket.client().list_objects_v2(Bucket=BUCKET, Prefix="musicgen/uploads/")
    return int(listed["KeyCount"])


def test_a_large_clip_costs_the_api_no_memory(
    api: JobServer, bucket: SeaweedFS, done: dict[str, Any]
) -> None:
    """Callers that read slowly must not gather their clips in the API."""
    status = api.ended(api.submit())
    admin = bucket.client()
    (item,) = admin.list_objects_v2(Bucket=BUCKET, Prefix=f"musicgen/{status['job_id']}-")[
        "Contents"
    ]
    size = 120_000_000
    admin.put_object(Bucket=BUCKET, Key=item["Key"], Body=bytes(size))
    process = psutil.Process(api.process.pid)
    pid = next(child.pid for child in process.children(recursive=True) if "api" in child.cmdline())
    # The first download loads what all need.
    api.http.get(done["audio_url"])
    before = peak_bytes(pid)
    with ExitStack() as stack:
        answers = [
            stack.enter_context(api.http.stream("GET", status["audio_url"])) for _ in range(4)
        ]
        readers = [answer.iter_bytes() for answer in answers]
        for reader in readers:
            next(reader)
        time.sleep(1)
        assert sum(len(block) for block in readers[0]) > size - 1_000_000
    assert peak_bytes(pid) - before < 40e6
    assert api.http.get("/readyz").status_code == 200


def test_a_redirect_is_signed_for_the_public_name(
    api: JobServer, bucket: SeaweedFS, done: dict[str, Any]
) -> None:
    public = bucket.url.replace("127.0.0.1", "localhost")
    settings = bucket_settings(
        bucket,
        DATABASE_URL=_read_database(api),
        MUSICGEN_BUCKET_DELIVERY="redirect",
        MUSICGEN_BUCKET_PUBLIC_ENDPOINT_URL=public,
    )
    with data_folder(with_database=False) as folder, job_server(folder, "api", **settings) as other:
        for download, kind in ((False, "inline"), (True, "attachment")):
            answer = other.http.get(done["audio_url"], params={"download": download})
            assert answer.status_code == 307
            assert answer.headers["location"].startswith(f"{public}/")
            clip = httpx.get(answer.headers["location"])
            assert clip.content == api.http.get(done["audio_url"]).content
            assert clip.headers["content-disposition"].startswith(kind)
        assert 'filename="calm-piano-7.wav"' in clip.headers["content-disposition"]
        # The bucket refuses HEAD at an address signed for GET.
        head = other.http.head(done["audio_url"])
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(clip.content)))
        converted = other.http.get(f"/audio/{done['job_id']}.flac")
        assert converted.status_code == 200 and converted.content[:4] == b"fLaC"
        policy = other.http.get("/").headers["content-security-policy"]
        assert f"media-src 'self' blob: {public};" in policy
        assert f"connect-src 'self' {public};" in policy
    assert public not in api.http.get("/").headers["content-security-policy"]


def _read_database(api: JobServer) -> str:
    return EmbeddedServer(api.folder).url
