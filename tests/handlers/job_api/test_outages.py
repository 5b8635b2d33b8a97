"""Disk, bucket and database fail while a sound is uploaded, music is made, and a clip is stored.

Each time the caller learns a documented code, nothing half-written stays, and the next job succeeds
without a restart.

| | upload | generation | store |
|---|---|---|---|
| disk full | 507 `disk_full` | `disk_full` | `disk_full` |
| disk read-only | 500 `not_writable` | `not_writable` | `not_writable` |
| bucket away | 503 `bucket_unavailable` | completed if back | `upload_failed`, in the spool |
| database away | waits, then 201 | completed | completed |
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from moto.server import ThreadedMotoServer

from tests.support.clips import wav
from tests.support.commands import run_command
from tests.support.disks import full_disk, read_only, small_disk, tree
from tests.support.job_server import JobServer, environment, free_port, job_server
from tests.support.s3_server import connect
from tests.support.tcp_postgres import TcpPostgres, tcp_postgres

pytestmark = pytest.mark.slow
MEGABYTES = 160
UNLIMITED = {"MUSICGEN_RATE_LIMIT": "100000/minute"}
LONG_SECONDS = 12.0
"""Of audio: long enough for a fault between its first and its last frame."""
Fault = Callable[[Path], AbstractContextManager[None]]
FAULTS: list[tuple[Fault, str, int]] = [
    (full_disk, "disk_full", 507),
    (read_only, "not_writable", 500),
]


@pytest.fixture(scope="module")
def postgres() -> Iterator[TcpPostgres]:
    with tcp_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def server(postgres: TcpPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    """A server whose data folder is a small disk of its own; its database lies elsewhere."""
    folder = tmp_path_factory.mktemp("outages") / "data"
    settings = {"DATABASE_URL": postgres.url(), "MUSICGEN_DISK_RESERVE_MB": 1, **UNLIMITED}
    with (
        small_disk(folder, MEGABYTES),
        job_server(folder, bound=True, **settings) as running,
    ):
        # Every folder is there before the disk fails.
        assert _upload(running).status_code == 201
        assert running.ended(running.submit())["status"] == "completed"
        yield running


def _upload(server: JobServer) -> httpx.Response:
    return server.http.post("/v1/uploads", content=wav(4.0))


def _files(server: JobServer) -> list[str]:
    return [name for name in tree(server.folder) if (server.folder / name).is_file()]


def _is_clip(name: str) -> bool:
    return name.startswith("clips/") and not Path(name).name.startswith(".")


def _begin(server: JobServer, duration: float = LONG_SECONDS, **fields: Any) -> str:
    """A job that is being made."""
    job_id = server.submit(duration=duration, **fields)
    server.until(job_id, lambda now: now["status"] == "running" and now["progress"] > 0)
    return job_id


def _check_recovery(server: JobServer) -> None:
    upload = _upload(server)
    assert upload.status_code == 201, upload.text
    job_id = server.submit()
    assert server.ended(job_id)["status"] == "completed"
    assert server.http.get(f"/audio/{job_id}.wav").status_code == 200
    assert server.process.poll() is None


def _check_failure(server: JobServer, job_id: str, code: str, files: list[str]) -> None:
    status = server.ended(job_id)
    assert (status["status"], status["error"]["code"]) == ("failed", code), status
    assert str(server.folder) not in str(status), "callers need not know the operator's folders"
    left = [name for name in _files(server) if name not in files and name != "filler"]
    # From a read-only disk live sound cannot be deleted: maintenance does it later.
    assert [name for name in left if code != "not_writable" or "growing/" not in name] == []


@pytest.mark.parametrize(("fault", "code", "status"), FAULTS)
def test_a_failing_disk_during_an_upload(
    server: JobServer, fault: Fault, code: str, status: int
) -> None:
    before = _files(server)
    with fault(server.folder):
        answer = _upload(server)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert str(server.folder) not in answer.text
    assert _files(server) == before
    _check_recovery(server)


@pytest.mark.parametrize(("fault", "code", "status"), FAULTS)
def test_a_failing_disk_during_a_conversion(
    server: JobServer, fault: Fault, code: str, status: int
) -> None:
    """It was an `internal_error`."""
    job_id = server.submit()
    assert server.ended(job_id)["status"] == "completed"
    before = _files(server)
    with fault(server.folder):
        answer = server.http.get(f"/audio/{job_id}.flac")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert str(server.folder) not in answer.text
    assert _files(server) == before
    assert server.http.get(f"/audio/{job_id}.flac").status_code == 200


@pytest.mark.parametrize(("fault", "code", "status"), FAULTS)
def test_a_failing_disk_at_the_start_of_a_job(
    server: JobServer, fault: Fault, code: str, status: int
) -> None:
    """Opening the file of the live sound was an `internal_error`."""
    before = _files(server)
    with fault(server.folder):
        _check_failure(server, server.submit(), code, before)
    _check_recovery(server)


def test_a_disk_that_fills_during_generation(server: JobServer) -> None:
    """Writing live sound to the full disk was an `internal_error`."""
    before = _files(server)
    job_id = _begin(server)
    with full_disk(server.folder):
        _check_failure(server, job_id, "disk_full", before)
    _check_recovery(server)


@pytest.mark.parametrize(("fault", "code", "status"), FAULTS)
def test_a_failing_disk_while_a_clip_is_stored(
    server: JobServer, fault: Fault, code: str, status: int
) -> None:
    before = _files(server)
    # flac has no live sound: the clip itself is the first thing written.
    job_id = _begin(server, output_format="flac")
    with fault(server.folder):
        _check_failure(server, job_id, code, before)
    _check_recovery(server)


def test_a_database_away_during_an_upload(server: JobServer, postgres: TcpPostgres) -> None:
    answers: list[httpx.Response] = []
    postgres.stop()
    thread = threading.Thread(target=lambda: answers.append(_upload(server)))
    thread.start()
    time.sleep(2)
    postgres.start()
    thread.join()
    assert answers[0].status_code == 201, answers[0].text
    _check_recovery(server)


def test_a_database_away_during_generation(server: JobServer, postgres: TcpPostgres) -> None:
    job_id = _begin(server)
    postgres.stop()
    time.sleep(1)
    postgres.start()
    assert server.ended(job_id)["status"] == "completed"
    _check_recovery(server)


def test_a_database_away_while_a_clip_is_stored(server: JobServer, postgres: TcpPostgres) -> None:
    """The job ends during the outage: its clip is stored once, and none beside it."""
    before = _files(server)
    job_id = _begin(server, output_format="flac")
    postgres.stop()
    end = time.monotonic() + 60
    while not (clips := [n for n in _files(server) if n not in before and _is_clip(n)]):
        assert time.monotonic() < end
        time.sleep(0.1)
    postgres.start()
    assert server.ended(job_id)["status"] == "completed"
    assert [name for name in _files(server) if name not in before] == clips
    assert len(clips) == 1 and clips[0].endswith(".flac")
    _check_recovery(server)


class MotoBucket:
    """A bucket `music` to be stopped and started; moto keeps its objects in this process."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = connect(self.url)
        self.start()
        self.client.create_bucket(Bucket="music")

    def start(self) -> None:
        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()

    def stop(self) -> None:
        self.server.stop()

    def keys(self) -> list[str]:
        """Of the clips; live sound lies beside them for a while."""
        listing = self.client.list_objects_v2(Bucket="music", Prefix="musicgen/")
        keys = [entry["Key"] for entry in listing.get("Contents", [])]
        return [key for key in keys if "/clip." in key]


@pytest.fixture(scope="module")
def bucket() -> Iterator[MotoBucket]:
    running = MotoBucket()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def bucket_settings(bucket: MotoBucket, postgres: TcpPostgres) -> dict[str, str]:
    postgres.execute("CREATE DATABASE with_bucket OWNER musicgen")
    return {
        "DATABASE_URL": postgres.url("with_bucket"),
        "MUSICGEN_BUCKET": "music",
        "MUSICGEN_BUCKET_ENDPOINT_URL": bucket.url,
        "MUSICGEN_BUCKET_REGION": "us-east-1",
        "MUSICGEN_BUCKET_ACCESS_KEY_ID": "id",
        "MUSICGEN_BUCKET_SECRET_ACCESS_KEY": "secret",
        "MUSICGEN_BUCKET_DEADLINE": "2",
        **UNLIMITED,
    }


@pytest.fixture(scope="module")
def bucket_server(
    bucket_settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JobServer]:
    folder = tmp_path_factory.mktemp("with-bucket") / "data"
    with job_server(folder, **bucket_settings) as running:
        yield running


def test_a_bucket_away_during_generation(bucket_server: JobServer, bucket: MotoBucket) -> None:
    before = set(bucket.keys())
    job_id = _begin(bucket_server, duration=5 * LONG_SECONDS)
    bucket.stop()
    time.sleep(1)
    bucket.start()
    assert bucket_server.status(job_id)["status"] == "running", "the job ended during the outage"
    assert bucket_server.ended(job_id)["status"] == "completed"
    assert [key for key in set(bucket.keys()) - before if key.endswith("clip.wav")]


def test_a_bucket_away_while_a_clip_is_stored(
    bucket_server: JobServer, bucket: MotoBucket, bucket_settings: dict[str, str]
) -> None:
    """The clip waits whole in the spool, and `musicgen uploads retry` delivers it."""
    before = set(bucket.keys())
    bucket.stop()
    try:
        status = bucket_server.ended(bucket_server.submit(output_format="flac"))
    finally:
        bucket.start()
    assert (status["status"], status["error"]["code"]) == ("failed", "upload_failed"), status
    assert str(bucket_server.folder) not in str(status) and bucket.url not in str(status)
    assert set(bucket.keys()) == before
    assert bucket_server.ended(bucket_server.submit())["status"] == "completed"
    before = set(bucket.keys())
    ended = run_command(["uploads", "retry"], environment(bucket_server.folder, **bucket_settings))
    assert ended.status == 0, ended
    (key,) = set(bucket.keys()) - before
    assert key.endswith("/clip.flac")
    assert list((bucket_server.folder / "spool").glob("*.clip")) == []


def test_a_bucket_away_during_an_upload(bucket_server: JobServer, bucket: MotoBucket) -> None:
    bucket.stop()
    try:
        answer = _upload(bucket_server)
    finally:
        bucket.start()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "bucket_unavailable")
    assert _upload(bucket_server).status_code == 201
