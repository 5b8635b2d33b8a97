"""The deadline of an upload, against servers that take a connection and do not answer."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from musicgen.errors import UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.s3 import S3Storage
from musicgen.storage.spool import Spool
from tests.support import ROOT
from tests.support.silent_server import SilentServer

LARGE = bytes(20 * 2**20)
ENDS = """
import sys, time
from pathlib import Path
from musicgen.errors import UploadFailed
from musicgen.settings import BucketSettings
from musicgen.storage import s3_client
from musicgen.storage.base import ClipFile, ClipName
from musicgen.storage.s3 import S3Storage
from musicgen.storage.spool import Spool

s3_client.READ_SECONDS = 600.0
bucket = BucketSettings(name="music", endpoint_url=sys.argv[1], deadline=600,
                        access_key_id="id", secret_access_key="secret")
storage = S3Storage(bucket, Spool(Path(sys.argv[2]))).limit_to(time.monotonic() + 1)
try:
    storage.put_all([ClipFile(ClipName("job", 0, 1, "wav"), [b"small"], "audio/wav")])
except UploadFailed:
    sys.stdout.write("given up")
"""


def _open(server: SilentServer, folder: Path, seconds: float = 120) -> S3Storage:
    bucket = BucketSettings(
        name="music",
        endpoint_url=server.url.removesuffix("/sound.wav"),
        access_key_id="id",
        secret_access_key="secret",
        deadline=seconds,
    )
    return S3Storage(bucket, Spool(folder))


def _clips(data: bytes, count: int = 1) -> list[ClipFile]:
    return [ClipFile(ClipName("job", n, count, "wav"), [data], "audio/wav") for n in range(count)]


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("is_given", [True, False], ids=["of the call", "of the bucket"])
def test_a_server_that_holds_the_connection_is_left_at_the_deadline(
    tmp_path: Path, data: bytes, is_given: bool
) -> None:
    """One attempt alone waits 20 s for its answer, and a large clip has several requests."""
    server = SilentServer()
    storage = _open(server, tmp_path, 120 if is_given else 1)
    if is_given:
        storage = storage.limit_to(time.monotonic() + 1)
    with pytest.raises(UploadFailed, match=r"2 of 2 clips kept in .*musicgen uploads retry"):
        storage.put_all(_clips(data, 2))
    # Still the first connections, so no read timeout has passed.
    assert server.opened and not server.closed
    assert [path.stat().st_size for path in Spool(tmp_path).list_waiting()] == [len(data)] * 2


def test_a_cancelled_upload_is_left_at_once(tmp_path: Path) -> None:
    """A stopped server waited for a silent bucket until its platform killed it."""
    server, cancelled = SilentServer(), threading.Event()
    storage = _open(server, tmp_path, 120).limit_to(None, cancelled)

    def cancel() -> None:
        server.wait_for(opened=1)
        cancelled.set()

    threading.Thread(target=cancel, daemon=True).start()
    with pytest.raises(UploadFailed, match=r"2 of 2 clips kept in .*musicgen uploads retry"):
        storage.put_all(_clips(b"small", 2))
    # Still the first connection, so no read timeout has passed.
    assert (server.opened, server.closed) == (1, 0)
    assert len(Spool(tmp_path).list_waiting()) == 2


def test_a_process_ends_although_a_server_holds_its_upload(tmp_path: Path) -> None:
    """It waited at its end for boto3's threads, and they for an answer."""
    server = SilentServer()
    command = [sys.executable, "-c", ENDS, server.url.removesuffix("/sound.wav"), str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=ROOT, check=True
    )
    assert (done.stdout, server.opened) == ("given up", 1)
    assert len(Spool(tmp_path).list_waiting()) == 1


def test_a_clip_that_arrives_after_the_deadline_leaves_the_spool(tmp_path: Path) -> None:
    server = SilentServer()
    storage = _open(server, tmp_path).limit_to(time.monotonic() + 1)
    with pytest.raises(UploadFailed):
        storage.put_all(_clips(b"late"))
    [path] = Spool(tmp_path).list_waiting()
    with Spool(tmp_path).lock(path) as entry:
        assert entry is None, "a retry would send it a second time"
    server.sound = b""
    assert server.wait_for(closed=1)
    end = time.monotonic() + 30
    while Spool(tmp_path).list_waiting() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Spool(tmp_path).list_waiting()


def test_the_limit_of_one_job_is_not_that_of_the_next(tmp_path: Path) -> None:
    server = SilentServer()
    server.sound = b""
    storage = _open(server, tmp_path)
    storage.limit_to(time.monotonic() - 1)
    [address] = storage.put_all(_clips(b"fine"))
    assert "/music/musicgen/job/clip.wav" in address
