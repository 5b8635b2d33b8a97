"""The load test: independent arrivals, and the figures of their jobs."""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.loadtest.drive import JobReport, Sample, drive, percentiles, poisson, report
from musicgen.errors import RemoteError
from tests.support import ROOT
from tests.support.job_server import JobServer, data_folder, job_server


@pytest.fixture(scope="module")
def server() -> Iterator[JobServer]:
    with data_folder() as folder, job_server(folder, MUSICGEN_SLOTS=2) as running:
        yield running


@given(per_hour=st.floats(10, 10_000), seconds=st.floats(1, 3600), seed=st.integers(0, 2**32))
def test_arrivals_are_in_order_within_their_time_and_repeatable(
    per_hour: float, seconds: float, seed: int
) -> None:
    moments = poisson(per_hour, seconds, seed)
    assert moments == sorted(moments) == poisson(per_hour, seconds, seed)
    assert all(0 < at < seconds for at in moments)


def test_arrivals_come_at_their_rate_and_independently() -> None:
    """The standard deviation of exponential gaps equals their mean."""
    moments = poisson(3600, 20_000, seed=1)
    gaps = [b - a for a, b in itertools.pairwise(moments)]
    assert statistics.mean(gaps) == pytest.approx(1.0, rel=0.03)
    assert statistics.stdev(gaps) == pytest.approx(1.0, rel=0.05)


def test_a_slow_server_does_not_slow_its_callers_down() -> None:
    """No job ends before the arrival of the last one."""
    all_asked = threading.Barrier(4, timeout=30)

    def ask(fields: dict[str, Any]) -> JobReport:
        all_asked.wait()
        return JobReport(fields["duration"])

    samples = drive(ask, [0.0, 0.1, 0.2, 0.3], [5.0], seed=0)
    assert [each.due for each in samples] == [0.0, 0.1, 0.2, 0.3]
    assert [each.error for each in samples] == [None] * 4
    assert samples[0].latency >= 0.3


def test_the_same_seed_asks_for_the_same_jobs() -> None:
    def collect_jobs(seed: int) -> list[dict[str, Any]]:
        jobs: list[dict[str, Any]] = []

        def ask(fields: dict[str, Any]) -> JobReport:
            jobs.append(fields)
            return JobReport(fields["duration"])

        drive(ask, [0.0] * 12, [1.0, 2.0, 3.0], seed)
        return sorted(jobs, key=lambda fields: fields["seed"])

    assert collect_jobs(1) == collect_jobs(1) != collect_jobs(2)


def test_what_fails_is_counted_by_its_code_and_is_no_latency() -> None:
    def ask(fields: dict[str, Any]) -> JobReport:
        if fields["seed"] == 0:
            raise RemoteError("gone")
        if fields["seed"] == 1:
            raise OSError
        return JobReport(2.0, wait=0.5, span=3.0)

    found = report(drive(ask, [0.0, 0.0, 0.0], [2.0], seed=0))
    assert (found["jobs"], found["completed"]) == (3, 1)
    assert found["errors"] == {"remote_error": 1, "OSError": 1}
    assert found["latency"]["p100"] >= 3.0
    assert found["queue_wait"]["p50"] == 0.5


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_percentiles_are_values_that_were_seen_and_rise(values: list[float]) -> None:
    found = percentiles(values)
    rounded = {round(value, 3) for value in values}
    assert set(found.values()) <= rounded
    assert list(found.values()) == sorted(found.values())
    assert found["p100"] == round(max(values), 3)
    at_most = sum(round(value, 3) <= found["p95"] for value in values)
    assert at_most / len(values) >= 0.95


def test_nothing_has_no_percentiles() -> None:
    assert percentiles([]) == {}
    found = report([Sample(0.0, 1.0, None, 0.0, "busy")])
    assert found["latency"] == {} and found["jobs_per_hour"] == 0.0


def _loadtest(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "infra.loadtest", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_a_running_api_is_driven_and_told_of(server: JobServer, tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    load = ("--jobs-per-hour", "7200", "--minutes", "0.1", "--durations", "0.5", "1")
    done = _loadtest("--server", server.url, *load, "--output", str(output))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == json.loads(output.read_text())
    assert found["completed"] == found["jobs"] == len(found["samples"]) > 2
    listed = server.http.get("/v1/jobs", params={"limit": 100}).json()["jobs"]
    assert len(listed) == found["jobs"]
    audio = sum(sample["audio"] for sample in found["samples"])
    assert audio / found["seconds"] == pytest.approx(found["audio_seconds_per_second"], rel=0.01)
    for sample in found["samples"]:
        assert 0 <= sample["wait"] <= sample["latency"]
        assert sample["audio"] in (pytest.approx(0.5, abs=0.01), pytest.approx(1.0, abs=0.01))


def test_jobs_that_fail_are_the_exit_status(server: JobServer) -> None:
    load = ("--jobs-per-hour", "3600", "--minutes", "0.1", "--durations", "900", "--max-jobs", "2")
    done = _loadtest("--server", server.url, *load)
    assert done.returncode == 1
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["completed"] == 0 and sum(found["errors"].values()) == found["jobs"]
    assert "invalid_duration" in found["errors"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "runpod", "--name", "x", "--jobs-per-hour", "60"), "--max-jobs"),
        # A negative number cut jobs off the end, and infinity never came to an end.
        (("--server", "x", "--jobs-per-hour", "60", "--max-jobs", "-1"), "at least 1"),
        (("--server", "x", "--jobs-per-hour", "inf"), "positive and finite"),
        (("--server", "x", "--jobs-per-hour", "60", "--minutes", "nan"), "positive and finite"),
        (("--server", "x", "--jobs-per-hour", "60", "--timeout", "0"), "positive and finite"),
        (("--server", "http://127.0.0.1:9", "--jobs-per-hour", "0"), "positive and finite"),
        (("--jobs-per-hour", "60"), "--server"),
    ],
)
def test_what_cannot_be_driven_is_refused(options: tuple[str, ...], said: str) -> None:
    done = _loadtest(*options)
    assert done.returncode == 2 and said in done.stderr
