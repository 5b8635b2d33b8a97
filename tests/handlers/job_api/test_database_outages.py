"""A database that is away for longer than calls wait costs no job."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from handlers.job_api.store.postgres_folder import PostgresFolder
from handlers.job_api.store.postgres_server import PostgresProcess
from tests.support import ROOT
from tests.support.clips import wav
from tests.support.job_server import JobServer, environment, job_server, stop, wait_until_ready
from tests.support.silent_server import SilentServer

PATIENCE = 2.0
"""Seconds of retries here, a minute otherwise."""
WORKER = f"""
import sys
from handlers.cli.main import main
from handlers.job_api.store import database
database.RETRY_SECONDS = {PATIENCE}
sys.exit(main(["serve", "worker"]))
"""
OWN = {"MUSICGEN_RATE_LIMIT": "100000/minute", "MUSICGEN_WORKER_TIMEOUT": 6}


@pytest.fixture
def database(data: Path) -> Iterator[PostgresProcess]:
    server = PostgresProcess(PostgresFolder(data))
    server.start()
    yield server
    server.stop()


@contextmanager
def _service(
    data: Path, tmp_path: Path, **settings: object
) -> Iterator[tuple[JobServer, subprocess.Popen[bytes]]]:
    own = {**OWN, **settings, "DATABASE_URL": PostgresFolder(data).url}
    with job_server(data / "files", "api", **own) as api:
        log = tmp_path / "worker.log"
        with log.open("ab") as file:
            worker = subprocess.Popen(
                [sys.executable, "-c", WORKER],
                cwd=ROOT,
                env=environment(data / "files", **own),
                stdout=file,
                stderr=file,
            )
        try:
            wait_until_ready(api.http, worker, log, 1)
            yield api, worker
        finally:
            stop(worker)


@pytest.mark.parametrize("drain", [600, pytest.param(1, marks=pytest.mark.slow)])
def test_a_running_job_goes_on_and_ends_once(
    data: Path, tmp_path: Path, database: PostgresProcess, drain: int
) -> None:
    """The worker took the lost database for the job's own fault, and failed it for good."""
    with _service(data, tmp_path, MUSICGEN_DRAIN_SECONDS=drain) as (api, _):
        # Longer than the outage on a quick machine.
        job_id = api.submit(duration=120)
        api.until(job_id, lambda now: now["progress"] > 0.02)
        database.stop()
        time.sleep(PATIENCE + 2)
        database.start()
        status = api.ended(job_id)
        assert (status["status"], status["attempt"], status["error"]) == ("completed", 1, None)
        assert api.ended(api.submit())["status"] == "completed"


@pytest.mark.slow
def test_a_job_that_ends_meanwhile_is_stored_when_the_database_is_back(
    data: Path, tmp_path: Path, database: PostgresProcess
) -> None:
    with _service(data, tmp_path) as (api, _):
        job_id = api.submit(duration=10)
        api.until(job_id, lambda now: now["progress"] > 0.02)
        database.stop()
        # Longer than the music takes and than a worker may be silent.
        time.sleep(10)
        database.start()
        status = api.ended(job_id)
        assert (status["status"], status["attempt"]) == ("completed", 1)


def test_a_sound_that_arrives_meanwhile_is_used_when_the_database_is_back(
    data: Path, tmp_path: Path, database: PostgresProcess
) -> None:
    """The row of the sound could not be written, and the job failed as an internal error."""
    silent = SilentServer()
    with _service(data, tmp_path, MUSICGEN_INPUT_NETWORKS="127.0.0.1/32") as (api, _):
        job_id = api.submit(input_audio=silent.url, continuation=True, duration=1)
        assert silent.wait_for(opened=1)
        database.stop()
        silent.sound = wav(0.5)
        assert silent.wait_for(closed=1)
        time.sleep(2 * PATIENCE + 2)
        database.start()
        status = api.ended(job_id)
        assert (status["status"], status["attempt"], status["error"]) == ("completed", 1, None)


@pytest.mark.slow
def test_a_worker_stops_while_the_database_is_away(
    data: Path, tmp_path: Path, database: PostgresProcess
) -> None:
    with _service(data, tmp_path) as (api, worker):
        job_id = api.submit(duration=300)
        api.until(job_id, lambda now: now["progress"] > 0.01)
        database.stop()
        worker.terminate()
        time.sleep(1)
        worker.terminate()
        assert worker.wait(30) == 0
        database.start()
        status = api.until(job_id, lambda now: now["status"] == "queued", seconds=60)
        assert status["error"] is None
