"""The real SDK's worker at SIGTERM, with a poll for jobs open."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.runpod_queue import job, runpod_queue, runpod_worker, until

HOLD_SECONDS = 3.0


@pytest.mark.parametrize("slots", [1, 3])
def test_jobs_taken_after_sigterm_have_results(tmp_path: Path, slots: int) -> None:
    """The SDK took them, and ended without running them."""
    settings = {"MUSICGEN_SLOTS": str(slots)}
    jobs = [job(f"late-{number}") for number in range(slots)]
    with runpod_queue() as queue, runpod_worker(queue, tmp_path, **settings) as worker:
        queue.hold_seconds = HOLD_SECONDS
        polls = len(queue.asked)
        until(lambda: len(queue.asked) > polls, "the worker asks for none")
        worker.process.send_signal(signal.SIGTERM)
        until(lambda: "Kill worker" in worker.log.read_text(), "the signal is not noticed")
        time.sleep(0.5)  # The SDK's loop of jobs looks for the signal ten times a second.
        queue.submit(*jobs)
        assert worker.ended() == 0
        assert not queue.waiting, "the poll had ended before"
        for each in jobs:
            assert "output" in queue.result(each["id"]), worker.log.read_text()
