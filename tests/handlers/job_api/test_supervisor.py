"""`serve all` owns its port and its children, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support import ROOT
from tests.support.job_server import (
    START_SECONDS,
    JobServer,
    environment,
    free_port,
    job_server,
    start,
    stop,
    wait_until_ready,
)
from tests.support.postgres import find_keeper, find_postgres


def test_the_children_end_with_a_killed_supervisor_and_the_next_binds_at_once(
    data: Path, tmp_path: Path
) -> None:
    """API and worker lived on, and the next start failed to bind for ever."""
    metrics = free_port()
    with job_server(data, MUSICGEN_METRICS_PORT=metrics) as first:
        running = first.submit(duration=300)
        first.until(running, lambda now: now["progress"] > 0.01)
        children = psutil.Process(first.process.pid).children()
        first.process.kill()
        first.process.wait()
        port = httpx.URL(first.url).port
        log = tmp_path / "log"
        env = environment(data, MUSICGEN_METRICS_PORT=metrics)
        second = start("all", env, log, "--port", str(port))
        try:
            _, alive = psutil.wait_procs(children, timeout=20)
            assert not alive
            wait_until_ready(first.http, second, log, 1)
            # The worker has put its job back: it waits for no timeout, and loses no attempt.
            status = first.until(running, lambda now: now["status"] == "running", seconds=10)
            assert status["attempt"] == 1
            assert "restarting it" not in log.read_text()
            first.http.delete(f"/v1/jobs/{running}")
        finally:
            assert stop(second) == 0


@pytest.mark.parametrize("part", ["all", "api"])
def test_a_port_in_use_is_one_line_and_the_end(data: Path, part: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = _serve(part, data, "--port", str(port))
    assert told.returncode == 78
    assert told.stderr.splitlines() == [
        f"musicgen: --port must be a free port of 127.0.0.1 (was {port}). Another process listens "
        "there: stop it, or choose another port."
    ]


def test_a_metrics_port_in_use_is_one_line_and_the_end(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = _serve("all", data, "--port", str(free_port()), MUSICGEN_METRICS_PORT=port)
    assert told.returncode == 78
    assert told.stderr.startswith("musicgen: MUSICGEN_METRICS_PORT must be a free port")
    assert len(told.stderr.splitlines()) == 1


def test_a_host_of_another_machine_is_one_line(data: Path) -> None:
    told = _serve("api", data, "--host", "192.0.2.1", "--port", "8000", MUSICGEN_API_AUTH="on")
    assert told.returncode == 78
    assert told.stderr.startswith("musicgen: --port cannot be opened on 192.0.2.1")


def _serve(
    part: str, data: Path, *options: str, **settings: object
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "handlers.cli", "serve", part, *options]
    env = environment(data, **settings)
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=START_SECONDS
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_all_at_once(data: Path, number: signal.Signals) -> None:
    """The first lets jobs finish, which takes minutes; more of them changed nothing."""
    with job_server(data) as server:
        job_id = server.submit(duration=300)
        server.until(job_id, lambda now: now["progress"] > 0.01)
        postgres, keeper = find_postgres(data), find_keeper(data)
        server.process.send_signal(number)
        time.sleep(1)
        assert server.process.poll() is None, "it waits for the job"
        server.process.send_signal(number)
        assert server.process.wait(20) == 0
    assert not psutil.wait_procs([postgres, keeper], timeout=20)[1]
    with job_server(data, "api") as api:
        status = api.status(job_id)
        assert (status["status"], status["attempt"]) == ("queued", 0)


def test_callers_wait_while_a_crashed_api_starts_again(data: Path) -> None:
    with job_server(data) as server:
        api = _find_child(server, "api")
        os.kill(api.pid, signal.SIGKILL)
        psutil.wait_procs([api], timeout=10)
        assert httpx.get(f"{server.url}/readyz", timeout=60).status_code == 200


def _find_child(server: JobServer, part: str) -> psutil.Process:
    children = psutil.Process(server.process.pid).children()
    return next(child for child in children if part in child.cmdline())
