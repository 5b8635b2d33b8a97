"""A real Prometheus scrapes the API and a worker during jobs: every panel has data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.monitoring.dashboard import build_dashboard
from infra.monitoring.panels import RANGE
from tests.support.job_server import JobServer, data_folder, free_port, job_server
from tests.support.prometheus_server import prometheus_server, read_values, wait_for

SCRAPED_SECONDS = 90
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
    """With the targets of the shipped configuration: the API's port, and the worker's after it."""
    _, port = server
    targets = {"musicgen-api": f"127.0.0.1:{port}", "musicgen-worker": f"127.0.0.1:{port + 1}"}
    with prometheus_server(tmp_path, targets) as http:
        yield http


def test_every_panel_has_data_while_jobs_run(
    server: tuple[JobServer, int], prometheus: httpx.Client
) -> None:
    running, _ = server
    wait_for(lambda: read_values(prometheus, "sum(up)") == [2.0], SCRAPED_SECONDS)
    expressions = {
        (panel["title"], target["legendFormat"]): target["expr"].replace(RANGE, "1m")
        for panel in build_dashboard()["panels"]
        for target in panel.get("targets", [])
    }
    missing: set[Any] = set()

    def all_have_data() -> bool:
        running.ended(running.submit(duration=1))
        missing.clear()
        missing.update(name for name, e in expressions.items() if not read_values(prometheus, e))
        return not missing

    try:
        wait_for(all_have_data, SCRAPED_SECONDS)
    except AssertionError:
        pytest.fail(f"no data: {sorted(missing)}")
    # The next evaluation of the rules records it.
    wait_for(lambda: read_values(prometheus, "musicgen:workers") == [1.0], SCRAPED_SECONDS)
    firing = prometheus.get("/api/v1/alerts").json()["data"]["alerts"]
    assert [a["labels"]["alertname"] for a in firing if a["state"] == "firing"] == []
