"""A listener learns that a stream failed: by an error, or by an incomplete answer once sound came.

The job goes on where only the stream failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.disks import full_disk, small_disk
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.s3_server import Bucket, s3_server

LONG_SECONDS = 90.0
"""Of audio: nobody hears the end before the stream is asked for."""


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with s3_server() as running:
        yield running


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Disk of the temporary files of `server`."""
    with small_disk(tmp_path_factory.mktemp("temporary") / "disk", 4) as folder:
        folder.chmod(0o1777)
        yield folder


@pytest.fixture(scope="module")
def server(disk: Path, bucket: Bucket) -> Iterator[JobServer]:
    settings = {"TMPDIR": disk, "MUSICGEN_RATE_LIMIT": "100000/minute", **bucket.env}
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


def _begin(server: JobServer, seconds: float = LONG_SECONDS) -> str:
    """Return the address of the live sound of a new job."""
    job_id = server.submit(duration=seconds)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        status = server.http.get(f"/v1/status/{job_id}").json()
        assert status["status"] in ("queued", "running"), status
        if status["stream_url"]:
            return str(status["stream_url"])
        time.sleep(0.05)
    raise AssertionError("no live sound")


def test_a_disk_that_is_full_from_the_start_is_an_error(server: JobServer, disk: Path) -> None:
    """It was 200 with an empty body that was cut off."""
    address = _begin(server)
    job_id = address.split("/")[-2]
    # Python chooses the folder of temporary files at its first use, and none that is full.
    with server.http.stream("GET", address) as live:
        assert next(live.iter_raw())
    with full_disk(disk):
        answer = server.http.get(address)
        assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
        assert str(disk) not in answer.text
    with server.http.stream("GET", address) as live:
        assert live.status_code == 200 and next(live.iter_raw())
    assert server.http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200


def test_live_sound_of_a_job_that_does_not_complete_is_cut(server: JobServer) -> None:
    """The body was completed: its listener took a part of the clip for the whole one."""
    address = _begin(server)
    with (
        pytest.raises(httpx.RemoteProtocolError, match="incomplete"),
        server.http.stream("GET", address) as live,
    ):
        blocks = live.iter_raw()
        assert next(blocks)
        server.http.post(f"/v1/jobs/{address.split('/')[-2]}/cancel").raise_for_status()
        for _ in blocks:
            pass


def test_a_zip_without_its_bucket_is_an_error(server: JobServer, bucket: Bucket) -> None:
    """It was 200 with an empty body that was cut off. The last test: the bucket does not return."""
    job_id = server.submit(duration=1)
    assert server.ended(job_id)["status"] == "completed"
    for key in sorted(bucket.keys()):
        bucket.client.delete_object(Bucket="music", Key=key)
    bucket.client.delete_bucket(Bucket="music")
    answer = server.http.get("/v1/jobs/zip", params={"id": job_id})
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "bucket_refused")
    assert server.http.get("/healthz").status_code == 200
    assert "Traceback" not in server.log, "what a stream's end is due to fits a line"
