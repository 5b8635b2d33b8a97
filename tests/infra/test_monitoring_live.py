"""A real Prometheus scrapes the API and a worker during jobs: every panel has data."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from infra.monitoring.dashboard import build_dashboard
from infra.monitoring.panels import RANGE
from tests.support import ROOT
from tests.support.job_server import JobServer, data_folder, free_port, job_server, stop

MONITORING = ROOT / "infra/monitoring"
START_SECONDS, SCRAPED_SECONDS = 60, 90
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs prometheus on the PATH"),
]


@pytest.fixture
def server(data: Path) -> Iterator[tuple[JobServer, int]]:
    port = free_port()
    with job_server(data, MUSICGEN_METRICS_PORT=port) as running:
        yield running, port


@pytest.fixture
def data() -> Iterator[Path]:
    with data_folder() as folder:
        yield folder


@pytest.fixture
def prometheus(server: tuple[JobServer, int], tmp_path: Path) -> Iterator[httpx.Client]:
    """Start it with the shipped configuration, but with other targets and intervals."""
    running, worker_port = server
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    addresses = {
        "musicgen-api": running.url.removeprefix("http://"),
        "musicgen-worker": f"127.0.0.1:{worker_port}",
    }
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [addresses[job["job_name"]]]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(MONITORING / "rules.yml", tmp_path)
    port = free_port()
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={tmp_path / 'prometheus.yml'}"),
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            _until(lambda: http.get("/-/ready").status_code == 200, START_SECONDS)
            yield http
    finally:
        stop(process)


def _until(is_so: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            if is_so():
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < end
        time.sleep(0.5)


def _values(http: httpx.Client, expression: str) -> list[float]:
    answer = http.get("/api/v1/query", params={"query": expression})
    assert answer.status_code == 200, answer.text
    found = [float(series["value"][1]) for series in answer.json()["data"]["result"]]
    return [value for value in found if value == value]  # NaN is no data


def test_every_panel_has_data_while_jobs_run(
    server: tuple[JobServer, int], prometheus: httpx.Client
) -> None:
    running, _ = server
    up = "sum(up)"
    _until(lambda: _values(prometheus, up) == [2.0], SCRAPED_SECONDS)
    expressions = {
        (panel["title"], target["legendFormat"]): target["expr"].replace(RANGE, "1m")
        for panel in build_dashboard()["panels"]
        for target in panel.get("targets", [])
    }
    missing: set[Any] = set()

    def all_have_data() -> bool:
        running.ended(running.submit(duration=1))
        missing.clear()
        missing.update(name for name, e in expressions.items() if not _values(prometheus, e))
        return not missing

    try:
        _until(all_have_data, SCRAPED_SECONDS)
    except AssertionError:
        pytest.fail(f"no data: {sorted(missing)}")
    # The next evaluation of the rules records it.
    _until(lambda: _values(prometheus, "musicgen:workers") == [1.0], SCRAPED_SECONDS)
    assert _values(prometheus, 'ALERTS{alertstate="firing"}') == []


def test_an_alert_is_raised_when_the_api_is_gone(
    server: tuple[JobServer, int], prometheus: httpx.Client
) -> None:
    """Pending is enough here: the rules' own tests check the alert a minute later."""
    running, _ = server
    _until(lambda: _values(prometheus, "sum(up)") == [2.0], SCRAPED_SECONDS)
    alert = 'ALERTS{alertname="MusicGenApiDown"}'
    _until(lambda: _values(prometheus, alert) == [], SCRAPED_SECONDS)
    stop(running.process)
    _until(lambda: _values(prometheus, alert) == [1.0], SCRAPED_SECONDS)
