"""A worker that its container starts again is another worker, whatever its name on the host."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.life_lock import LifeLock, find_dead_workers, forget_workers
from tests.support import ROOT
from tests.support.job_server import JobServer, environment, job_server, wait_until_ready
from tests.support.namespaces import contained, find_contained, require_namespaces
from tests.support.webhook_receiver import Receiver

WORKER = [sys.executable, "-m", "handlers.cli", "serve", "worker"]
HOLD = """
import sys, time
from pathlib import Path
from handlers.job_api.store.life_lock import LifeLock
lock = LifeLock(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""
OWN = {"MUSICGEN_RATE_LIMIT": "100000/minute", "MUSICGEN_WEBHOOK_NETWORKS": "127.0.0.0/8"}


@pytest.fixture
def api(data: Path, request: pytest.FixtureRequest) -> Iterator[JobServer]:
    require_namespaces()
    own = {**OWN, "MUSICGEN_WORKER_TIMEOUT": request.param, "MUSICGEN_JOBS_PER_KEY": 1}
    with job_server(data, "api", **own) as running:
        yield running


@pytest.mark.parametrize(
    ("api", "is_lock_lost"),
    [(600, False), (5, True)],
    ids=["by lock", "by silence"],
    indirect=["api"],
)
def test_a_worker_restarted_in_its_container_does_the_lost_job_once(
    api: JobServer, tmp_path: Path, is_lock_lost: bool
) -> None:
    """Host name and process number were the worker's name, so that the lost worker seemed alive."""
    receiver = Receiver()
    first = _start_worker(api, tmp_path)
    job_id = api.submit(duration=60, seed=1, webhook_url=receiver.url)
    api.until(job_id, lambda now: now["progress"] > 0.02)
    before = _read_workers(api.folder)
    find_contained(first).kill()
    first.wait()
    if is_lock_lost:
        # As where the data folder is not shared, or lies on a network file system.
        forget_workers(api.folder, before)
    second = _start_worker(api, tmp_path)
    try:
        status = api.until(job_id, lambda now: now["attempt"] == 2, seconds=60)
        assert status["status"] == "running"
        assert _read_workers(api.folder)[-1] not in before
        refused = api.http.post("/generate", json={"prompt": "x", "duration": 1})
        assert refused.json()["error"]["code"] == "too_many_jobs"
        assert api.ended(job_id)["status"] == "completed"
        receiver.until(taken=1)
        told = [json.loads(body)["data"]["job_id"] for _, body in receiver.taken]
        assert told == [job_id]
        assert len(list((api.folder / "clips").glob(f"{job_id}-*"))) == 1
        assert api.ended(api.submit())["status"] == "completed"
    finally:
        find_contained(second).terminate()
        second.wait(60)


def _start_worker(api: JobServer, tmp_path: Path) -> subprocess.Popen[bytes]:
    log = tmp_path / "worker.log"
    env = environment(api.folder, MUSICGEN_WORKER_TIMEOUT=600, **OWN)
    with log.open("ab") as file:
        worker = subprocess.Popen(contained(WORKER), cwd=ROOT, env=env, stdout=file, stderr=file)
    wait_until_ready(api.http, worker, log, 1)
    return worker


def _read_workers(folder: Path) -> list[str]:
    with EmbeddedServer(folder) as server, psycopg.connect(server.url) as connection:
        rows = connection.execute("SELECT name FROM musicgen_workers ORDER BY seen_at").fetchall()
    return [str(row[0]) for row in rows]


def test_a_lock_is_free_once_its_worker_is_dead(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path), "one"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        own = LifeLock(tmp_path, "two")
        assert find_dead_workers(tmp_path) == []
        holder.kill()
    assert find_dead_workers(tmp_path) == ["one"]
    forget_workers(tmp_path, ["one"])
    assert find_dead_workers(tmp_path) == []
    own.release()
    assert not list((tmp_path / "workers").iterdir())


def test_a_free_lock_of_another_machine_proves_nothing(tmp_path: Path) -> None:
    """Some network file systems keep locks on one machine only."""
    lock = tmp_path / "workers" / "elsewhere"
    lock.parent.mkdir()
    lock.write_text("another kernel")
    assert find_dead_workers(tmp_path) == []


def test_a_worker_without_a_writable_folder_works_without_a_lock(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("in the way")
    LifeLock(tmp_path, "one").release()
    assert find_dead_workers(tmp_path) == []
