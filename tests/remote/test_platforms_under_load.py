"""The load test drives platforms as it drives the job API."""

from __future__ import annotations

import pytest

from infra.loadtest.drive import drive, report
from infra.loadtest.targets import ask_platform
from tests.support.cog_server import Server


def test_a_container_is_driven(cog: Server) -> None:
    ask = ask_platform(str(cog.client.base_url), None, 60)
    # One after the other: this container makes one clip at a time.
    found = report(drive(ask, [0.0, 2.0], [0.5], seed=0))
    assert found["errors"] == {} and found["completed"] == 2
    assert found["samples"][0]["audio"] == pytest.approx(0.5, abs=0.05)


def test_an_endpoint_of_runpod_is_driven(platforms: None) -> None:
    found = report(drive(ask_platform("runpod", "ep1", 60), [0.0, 0.5], [0.5], seed=0))
    assert found["errors"] == {} and found["completed"] == 2
