"""A training run that may be stopped at any time and goes on where it was."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


class TimedRun(ABC):
    """Trains for a time, not for a number of steps: how fast a machine is differs too much.

    `folder` holds the state and curve.jsonl, a line of `measure` every `report_seconds`.
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
        """What is reached on music that is never trained on."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """All that `restore` needs."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""

    @abstractmethod
    def batches(self) -> Iterator[Any]:
        """What to learn from, without end; the same at the same step."""

    @abstractmethod
    def learn(self, batch: Any, share: float) -> None:
        """One step; `share` of the time, from 0 to 1, is over."""

    def train(self, minutes: float) -> None:
        """Trains until `minutes` in all, those of earlier processes included."""
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
        """Appends a line to the curve."""
        line = {"minutes": self.seconds / 60, "steps": self.step} | self.measure()
        with (self.folder / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps(line) + "\n")

    def save(self) -> None:
        """Whole or not at all."""
        temporary = self._path.with_suffix(".tmp")
        torch.save(self.state() | {"step": self.step, "seconds": self.seconds}, temporary)
        temporary.replace(self._path)

    def resumed(self) -> bool:
        """Takes up what an earlier process left; False if there is nothing."""
        if not self._path.exists():
            return False
        state = torch.load(self._path, weights_only=True)
        self.restore(state)
        self.step, self.seconds = state["step"], state["seconds"]
        return True
