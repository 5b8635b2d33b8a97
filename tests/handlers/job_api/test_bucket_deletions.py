"""Jobs and uploads are deleted from the bucket too, also if it is away meanwhile."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator

import pytest

from musicgen.settings import BucketSettings
from musicgen.storage.spool import Spool, UploadTarget
from tests.support.bucket_settings import bucket_settings
from tests.support.clips import wav
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.seaweedfs import BUCKET, SeaweedFS, seaweedfs

WAIT_SECONDS = 90.0


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with seaweedfs(tmp_path_factory.mktemp("weed")) as running:
        yield running


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Spool:
    return Spool(tmp_path_factory.mktemp("spool"))


@pytest.fixture(scope="module")
def api(bucket: SeaweedFS, spool: Spool) -> Iterator[JobServer]:
    settings = bucket_settings(bucket, MUSICGEN_SPOOL_DIR=spool.folder)
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


def _list_keys(bucket: SeaweedFS, name: str) -> list[str]:
    found = bucket.client().list_objects_v2(Bucket=BUCKET, Prefix="musicgen/").get("Contents", [])
    return [item["Key"] for item in found if name in item["Key"]]


def _wait_until_gone(bucket: SeaweedFS, name: str) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while keys := _list_keys(bucket, name):
        assert time.monotonic() < end, keys
        time.sleep(0.5)


def test_a_job_is_deleted_with_clip_live_audio_and_conversion(
    api: JobServer, bucket: SeaweedFS
) -> None:
    job_id = api.submit(duration=3)
    api.ended(job_id)
    assert api.http.get(f"/audio/{job_id}.flac").status_code == 200
    assert any("/live/" in key for key in _list_keys(bucket, job_id))
    assert api.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert _list_keys(bucket, job_id) == []
    assert not list((api.folder / "converted").glob(f"{job_id}*"))


def test_a_zip_holds_the_clips_of_the_bucket(api: JobServer) -> None:
    ids = [api.submit(prompt=f"song {n}", seed=n, duration=0.5) for n in range(2)]
    clips = [api.http.get(api.ended(job_id)["audio_url"]).content for job_id in ids]
    answer = api.http.get("/v1/jobs/zip", params={"id": ids})
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["song-0-0.wav", "song-1-1.wav"]
        assert [archive.read(name) for name in archive.namelist()] == clips


def test_a_deletion_waits_for_a_bucket_that_is_away(api: JobServer, bucket: SeaweedFS) -> None:
    job_id = api.submit(duration=0.5)
    api.ended(job_id)
    upload = api.http.post("/v1/uploads", content=wav(0.5)).json()["upload_id"]
    paths = (f"/v1/jobs/{job_id}", f"/v1/uploads/{upload}")
    bucket.stop()
    try:
        for path in paths:
            for _ in range(2):
                answer = api.http.delete(path, timeout=120)
                assert (answer.status_code, answer.json()) == (202, {"status": "deleting"})
        assert api.http.get(f"/status/{job_id}").status_code == 404
        assert api.http.get("/v1/uploads").json()["uploads"] == []
    finally:
        bucket.start()
    for name in (job_id, upload):
        _wait_until_gone(bucket, name)
    for path in paths:
        end = time.monotonic() + WAIT_SECONDS
        while api.http.delete(path).status_code != 404:
            assert time.monotonic() < end
            time.sleep(0.5)


def test_a_clip_that_waits_in_the_spool_is_deleted(
    api: JobServer, bucket: SeaweedFS, spool: Spool
) -> None:
    """It came back with `musicgen uploads retry`, and nothing deleted it from the bucket."""
    env = {name: str(value) for name, value in bucket_settings(bucket).items()}
    kept, gone = api.submit(duration=0.5), api.submit(duration=0.5)
    settings = BucketSettings.from_env(env)
    for job_id in (kept, gone):
        api.ended(job_id)
        target = UploadTarget.build(settings, f"musicgen/{job_id}-1/a.wav", "audio/wav", "inline")
        spool.release(spool.add(target, [wav(0.1)]))
    assert api.http.delete(f"/v1/jobs/{gone}").status_code == 204
    waiting = [path.with_suffix(".json").read_text() for path in spool.list_waiting()]
    assert len(waiting) == 1 and kept in waiting[0]
