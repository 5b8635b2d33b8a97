"""Workers come and go, the database too: no job is lost, none is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from tests.support.job_server import (
    JobServer,
    environment,
    job_server,
    start,
    stop,
    wait_until_ready,
)
from tests.support.postgres import find_postgres

FAST = {"MUSICGEN_WORKER_TIMEOUT": 6, "MUSICGEN_RATE_LIMIT": "100000/minute"}


@pytest.fixture
def api(data: Path) -> Iterator[JobServer]:
    with job_server(data, "api", **FAST) as running:
        yield running


def _worker(api: JobServer, tmp_path: Path, **settings: object) -> subprocess.Popen[bytes]:
    log = tmp_path / "worker.log"
    worker = start("worker", environment(api.folder, **FAST, **settings), log)
    wait_until_ready(api.http, api.process, log, 1)
    return worker


def test_a_killed_worker_s_job_is_done_by_the_next(api: JobServer, tmp_path: Path) -> None:
    job_id = api.submit(duration=300, seed=1)
    first = _worker(api, tmp_path)
    api.until(job_id, lambda now: now["progress"] > 0.02)
    first.kill()
    first.wait()
    second = _worker(api, tmp_path)
    try:
        status = api.until(job_id, lambda now: now["attempt"] == 2)
        assert status["status"] == "running"
        api.http.delete(f"/v1/jobs/{job_id}")
        short = api.submit(duration=0.5)
        assert api.ended(short)["status"] == "completed"
    finally:
        assert stop(second) == 0


def test_a_worker_that_is_asked_to_stop_finishes_its_job(api: JobServer, tmp_path: Path) -> None:
    worker = _worker(api, tmp_path)
    running = api.submit(duration=30)
    api.until(running, lambda now: now["status"] == "running")
    waiting = api.submit(duration=0.5)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    status = api.status(running)
    assert (status["status"], status["attempt"]) == ("completed", 1)
    assert api.status(waiting)["status"] == "queued"
    assert api.http.get("/readyz").json()["workers"] == 0


def test_a_worker_that_may_not_finish_leaves_its_job_to_others(
    api: JobServer, tmp_path: Path
) -> None:
    worker = _worker(api, tmp_path, MUSICGEN_DRAIN_SECONDS=1)
    job_id = api.submit(duration=300)
    api.until(job_id, lambda now: now["progress"] > 0.01)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
    api.until(job_id, lambda now: now["status"] == "queued")
    assert not list((api.folder / "clips").glob("*"))


def test_the_database_may_restart_under_everything(data: Path) -> None:
    with job_server(data, **FAST) as server:
        before = server.submit(duration=30)
        server.until(before, lambda now: now["status"] == "running")
        postmaster = find_postgres(server.folder)
        postmaster.send_signal(signal.SIGINT)  # every connection is cut
        postmaster.wait(30)
        assert server.ended(before)["status"] == "completed"
        after = server.submit()
        assert server.ended(after)["status"] == "completed"


LOSE_THE_END = (
    "UPDATE musicgen_jobs SET state = 'running', result = NULL, finished_at = NULL, progress = 0.5",
    "UPDATE procrastinate_jobs SET status = 'doing'",
)


def test_a_job_is_run_again_when_the_database_lost_its_end(data: Path) -> None:
    """After a failover to a replica it was running for as long as its worker lived."""
    with job_server(data, **FAST) as server:
        job_id = server.submit(duration=0.5)
        assert server.ended(job_id)["attempt"] == 1
        with EmbeddedServer(data) as own, psycopg.connect(own.url, autocommit=True) as connection:
            for statement in LOSE_THE_END:
                connection.execute(statement)
        server.until(job_id, lambda now: now["attempt"] == 2)
        status = server.ended(job_id)
        assert status["status"] == "completed"
        assert server.http.get(status["audio_url"]).status_code == 200
        assert server.ended(server.submit(duration=0.5))["attempt"] == 1


def test_a_parent_starts_again_what_dies_and_takes_all_with_it(data: Path) -> None:
    with job_server(data, **FAST) as server:
        children = psutil.Process(server.process.pid).children()
        worker = next(child for child in children if "worker" in child.cmdline())
        os.kill(worker.pid, signal.SIGKILL)
        assert server.ended(server.submit())["status"] == "completed"
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive and gone


def test_where_there_is_no_room_it_says_how_long_a_job_would_wait(data: Path) -> None:
    """A constant would have callers come back too early, all of them at once."""
    room = {"MUSICGEN_QUEUE_MAX": 2, "MUSICGEN_SLOTS": 1, "MUSICGEN_JOBS_PER_KEY": 4}
    with job_server(data, **FAST, **room) as server:
        server.ended(server.submit(duration=5))
        ids = [server.submit(duration=300)]
        server.until(ids[0], lambda now: now["status"] == "running")
        ids += [server.submit(duration=300) for _ in range(2)]
        time.sleep(1.1)  # the load is looked up once a second
        full = server.http.post("/generate", json={"prompt": "x", "duration": 1})
        assert (full.status_code, full.json()["error"]["code"]) == (503, "queue_full")
        wait = full.json()["error"]["expected_seconds"]
        assert 1 <= int(full.headers["retry-after"]) < wait
        server.http.delete(f"/v1/jobs/{ids.pop()}")
        time.sleep(1.1)
        ids.append(server.submit(duration=1))
        server.http.delete(f"/v1/jobs/{ids[1]}")
        time.sleep(1.1)
        ids[1] = server.submit(duration=1)
        time.sleep(1.1)
        full = server.http.post("/generate", json={"prompt": "x", "duration": 1})
        assert full.json()["error"]["expected_seconds"] < wait / 2
        for job_id in ids:
            server.http.delete(f"/v1/jobs/{job_id}")


def test_the_api_answers_while_there_is_no_worker(api: JobServer) -> None:
    job_id = api.submit()
    status = api.status(job_id)
    assert (status["status"], status["position"], status["expected_seconds"]) == ("queued", 1, None)
    with httpx.stream("GET", f"{api.url}/v1/jobs/{job_id}/events") as events:
        assert next(events.iter_lines()) == "event: status"
