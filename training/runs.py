"""Training runs with stop and resume at any time."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


class TimedRun(ABC):
    """Training run with a limit of time instead of steps, because the speed of machines differs.

    `folder` has the state and curve.jsonl, with a line of `measure` every `report_seconds`.
    """

    report_seconds = 120.0

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.step = 0
        self.seconds = 0.0
        self._path = folder / f"{name}.pt"

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Return the figures on held-out music."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the input of `restore`."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Load the output of `state`."""

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """Yield batches without end; the same step gives the same batch."""

    @abstractmethod
    def learn(self, batch: Any, share: float) -> None:
        """Train on one batch; `share` is the elapsed share of the time, from 0 to 1."""

    def train(self, minutes: float) -> None:
        """Train up to `minutes` in total, with those of earlier processes."""
        last, reported = time.monotonic(), self.seconds
        for batch in self.batches():
            share = self.seconds / (60 * minutes)
            if share >= 1:
                break
            self.learn(batch, share)
            self.step += 1
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.seconds - reported >= self.report_seconds:
                self.report()
                self.save()
                last, reported = time.monotonic(), self.seconds
        self.report()
        self.save()

    def report(self) -> None:
        """Append a line to the curve."""
        line = {"minutes": self.seconds / 60, "steps": self.step} | self.measure()
        with (self.folder / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Save the state completely or not at all."""
        temporary = self._path.with_suffix(".tmp")
        torch.save(self.state() | {"step": self.step, "seconds": self.seconds}, temporary)
        temporary.replace(self._path)

    def resume(self) -> bool:
        """Load the state of an earlier process; return False without one."""
        if not self._path.exists():
            return False
        state = torch.load(self._path, weights_only=True)
        self.restore(state)
        self.step, self.seconds = state["step"], state["seconds"]
        return True
