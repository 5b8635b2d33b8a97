"""A run that is stopped loses nothing but what came after its last report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from training.runs import TimedRun


class _Counting(TimedRun):
    """Learns the sum of what it has seen."""

    report_seconds = 0.0

    def __init__(self, folder: Path, stop_at: int | None = None) -> None:
        super().__init__(folder, "counting")
        self.total = 0
        self.shares: list[float] = []
        self.stop_at = stop_at
        self.resume()

    def measure(self) -> dict[str, Any]:
        return {"total": self.total}

    def state(self) -> dict[str, Any]:
        return {"total": self.total}

    def restore(self, state: dict[str, Any]) -> None:
        self.total = state["total"]

    def batches(self) -> Iterator[int]:
        while True:
            yield self.step

    def learn(self, batch: int, share: float) -> None:
        if batch == self.stop_at:
            raise KeyboardInterrupt
        # As a step of a model takes: time is over after tens of reports, not thousands.
        time.sleep(0.001)
        self.total += batch
        self.shares.append(share)


def test_it_goes_on_at_the_next_step_and_ends_when_the_time_is_over(tmp_path: Path) -> None:
    first = _Counting(tmp_path, stop_at=5)
    with pytest.raises(KeyboardInterrupt):
        first.train(minutes=10)
    second = _Counting(tmp_path)
    assert (second.step, second.total) == (5, 0 + 1 + 2 + 3 + 4)
    assert second.seconds == first.seconds > 0
    second.train(minutes=second.seconds / 60 + 0.001)
    assert second.total == sum(range(second.step)) and second.step > 5
    assert second.shares == sorted(second.shares) and second.shares[-1] < 1
    third = _Counting(tmp_path)
    third.train(minutes=0.0001)
    assert third.total == second.total
    lines = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in lines[:5]] == [1, 2, 3, 4, 5]
    assert not list(tmp_path.glob("*.tmp"))
