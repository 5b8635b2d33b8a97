"""What a worker tells Prometheus and a probe, while it loads, works and stops."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from handlers.job_api.worker.health_server import HealthServer
from handlers.job_api.worker.metrics import OUTCOMES, WorkerMetrics
from musicgen.errors import SettingsError
from tests.support.job_server import (
    JobServer,
    environment,
    free_port,
    job_server,
    start,
    stop,
    wait_until_ready,
)


@pytest.fixture
def api(data: Path) -> Iterator[JobServer]:
    with job_server(data, "api") as running:
        yield running


@pytest.fixture
def worker(api: JobServer, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port, log = free_port(), tmp_path / "worker.log"
    process = start("worker", environment(api.folder, MUSICGEN_METRICS_PORT=port), log)
    try:
        address = f"http://127.0.0.1:{port}"
        _until(f"{address}/healthz", 200)
        # It lives, and nobody should send it anything yet.
        assert httpx.get(f"{address}/readyz").status_code in (200, 503)
        wait_until_ready(api.http, api.process, log, 1)
        yield process, address
    finally:
        stop(process)


def _until(url: str, status: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url, timeout=2).status_code == status:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end, url
        time.sleep(0.05)


def _values(address: str) -> dict[str, float]:
    families = text_string_to_metric_families(httpx.get(f"{address}/metrics").text)
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_worker_counts_what_it_has_done(
    api: JobServer, worker: tuple[subprocess.Popen[bytes], str], tmp_path: Path
) -> None:
    process, address = worker
    _until(f"{address}/readyz", 200)
    assert api.ended(api.submit(duration=2, variations=2))["status"] == "completed"
    late = api.submit(duration=300)
    api.until(late, lambda now: now["status"] == "running")
    assert _values(address)["musicgen_batch_size"] == 1
    api.http.delete(f"/v1/jobs/{late}")
    end = time.monotonic() + 30
    while _values(address)["musicgen_batch_size"] and time.monotonic() < end:
        time.sleep(0.1)
    found = _values(address)
    assert found["musicgen_jobs_totalcompleted"] == 1
    assert found["musicgen_jobs_totaldropped"] == 1
    assert found["musicgen_audio_seconds_total"] == pytest.approx(4)
    for name in ("queue_wait_seconds", "job_duration_seconds"):
        assert found[f"musicgen_{name}_count"] == 2
    assert found["musicgen_realtime_factor_count"] == 1
    assert found["musicgen_time_to_first_audio_seconds_count"] == 1
    assert 0 < found["musicgen_model_load_seconds"] < 600
    wrong = api.submit(input_audio="http://10.0.0.1/x", continuation=True)
    assert api.ended(wrong)["status"] == "failed"
    found = _values(address)
    assert found["musicgen_jobs_totalrefused"] == 1, "the caller's fault"
    assert found["musicgen_jobs_totalfailed"] == 0
    last = api.submit(duration=20)
    api.until(last, lambda now: now["status"] == "running")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    log = (tmp_path / "worker.log").read_text()
    assert re.search(rf"job starts job_id={late} attempt=1 device=cpu waited=[\d.e-]+$", log, re.M)
    ended = (
        rf"job ended job_id={last} outcome=completed device=cpu seconds=[\d.]+ audio_seconds=20$"
    )
    assert re.search(ended, log, re.M)
    assert f"job ended job_id={wrong} outcome=refused" in log
    assert re.search(r"worker stops taking jobs worker=\S+ running=1 drain_seconds=600$", log, re.M)
    assert log.index("worker stops taking") < log.index(last, log.index("worker stops taking"))
    assert log.index("worker has stopped") > log.index(f"job ended job_id={last}")


def test_a_health_port_says_what_its_worker_is() -> None:
    class Worker:
        lost_device, takes_jobs = False, True

    port = HealthServer("127.0.0.1", 0, WorkerMetrics(lambda: 3))
    address, worker = f"http://127.0.0.1:{port.port}", Worker()

    def statuses() -> list[int]:
        return [httpx.get(f"{address}/{name}").status_code for name in ("healthz", "readyz")]

    try:
        assert statuses() == [200, 503]
        port.watch(worker)
        assert statuses() == [200, 200]
        worker.takes_jobs = False
        assert statuses() == [200, 503]
        worker.lost_device = True
        assert statuses() == [503, 503]
        assert httpx.get(f"{address}/else").status_code == 404
        found = _values(address)
        assert found["musicgen_spool_clips"] == 3
        assert all(found[f"musicgen_jobs_total{outcome}"] == 0 for outcome in OUTCOMES)
    finally:
        port.close()


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"MUSICGEN_METRICS_PORT.*{number}"):
            HealthServer("127.0.0.1", number, WorkerMetrics())
