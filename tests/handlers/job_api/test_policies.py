"""What cannot be made here, or not soon enough, is made by a container elsewhere: whole processes,
with Cog's own server as the other side."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import soundfile as sf

from tests.support.cog_server import Server, cog_server
from tests.support.job_server import JobServer, data_folder, job_server

OFTEN = {"MUSICGEN_RATE_LIMIT": "100000/minute"}


@pytest.fixture(scope="module")
def cog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with cog_server(tmp_path_factory.mktemp("elsewhere")) as running:
        yield running


@pytest.fixture(scope="module")
def fallback(cog: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobServer]:
    """A machine whose cache of the hub is empty, unlike the other side's."""
    settings = {
        "MUSICGEN_POLICY": "fallback",
        "MUSICGEN_REMOTE_TARGET": _address(cog),
        "MUSICGEN_WORKER_TIMEOUT": 6,
        **OFTEN,
        "HF_HUB_OFFLINE": 1,
        "HF_HUB_CACHE": tmp_path_factory.mktemp("empty"),
    }
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


def _address(cog: Server) -> str:
    return str(cog.client.base_url).rstrip("/")


def _seconds(server: JobServer, url: str) -> float:
    pcm, rate = sf.read(io.BytesIO(server.http.get(url).content))
    return len(pcm) / rate


def test_a_job_whose_engine_is_killed_is_finished_elsewhere(
    fallback: JobServer, cog: Server
) -> None:
    job_id = fallback.submit(duration=40, seed=3)
    fallback.until(job_id, lambda now: now["progress"] > 0.02)
    children = psutil.Process(fallback.process.pid).children()
    worker = next(child for child in children if "worker" in child.cmdline())
    os.kill(worker.pid, signal.SIGKILL)
    status = fallback.ended(job_id)
    assert (status["status"], status["attempt"]) == ("completed", 2), status
    assert (status["result"]["made_by"], status["result"]["seed"]) == (_address(cog), 3)
    assert _seconds(fallback, status["audio_url"]) == 40
    # The parent has started the engine again: what it can do is made here.
    assert fallback.ended(fallback.submit())["result"]["made_by"] == "local"


def test_a_model_that_is_not_there_is_one_that_is_elsewhere(
    fallback: JobServer, cog: Server
) -> None:
    status = fallback.ended(fallback.submit(model_version="small", variations=2, seed=8))
    assert status["status"] == "completed", status
    assert status["result"]["made_by"] == _address(cog)
    assert status["result"]["licence"] == "CC-BY-NC-4.0"
    assert [clip["seed"] for clip in status["result"]["clips"]] == [8, 9]


def test_what_the_caller_has_to_mend_goes_nowhere(fallback: JobServer) -> None:
    status = fallback.ended(fallback.submit(input_audio="http://10.0.0.1/x", continuation=True))
    # The fetch comes before the first attempt.
    assert (status["status"], status["attempt"]) == ("failed", 0)
    assert status["error"]["code"] == "input_audio_refused"


def test_what_would_wait_goes_elsewhere_until_the_month_s_money_is_spent(
    cog: Server, data: Path
) -> None:
    """No estimate is below five seconds of compute: once one clip is paid for, there is no room
    for a second one."""
    settings = {
        "MUSICGEN_POLICY": "overflow",
        "MUSICGEN_OVERFLOW_SECONDS": 0,
        "MUSICGEN_SLOTS": 1,
        "MUSICGEN_REMOTE_TARGET": _address(cog),
        "MUSICGEN_REMOTE_PRICE": 1,
        "MUSICGEN_REMOTE_FACTOR": 0.01,
        "MUSICGEN_REMOTE_MONTHLY_CAP": 5.1,
        **OFTEN,
    }
    with job_server(data, **settings) as server:
        assert server.ended(server.submit())["result"]["made_by"] == "local", "nobody waits"
        long = server.submit(duration=300)
        server.until(long, lambda now: now["progress"] > 0)
        _until_the_load_is_seen(server)
        result = server.ended(server.submit(duration=5))["result"]
        assert result["made_by"] == _address(cog) and result["cost_usd"] > 0.1
        second = server.submit()
        server.until(second, lambda now: now["attempt"] == 1 and now["status"] == "queued")
        server.http.delete(f"/v1/jobs/{long}")
        assert server.ended(second)["result"]["made_by"] == "local"
        assert _spent(server) == pytest.approx(result["cost_usd"])


def _until_the_load_is_seen(server: JobServer) -> None:
    """It is looked up once a second; what is being made is seen in the next one."""
    for _ in range(100):
        if "musicgen_jobs_running 1.0" in server.http.get("/metrics").text:
            return
        time.sleep(0.1)
    raise AssertionError("nothing runs")


def _spent(server: JobServer) -> float:
    lines = server.http.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("musicgen_spent_usd ")).split()[1])
