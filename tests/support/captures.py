"""CUDA graphs without a GPU: stand-ins for captures that work, and for those that fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from musicgen.engine.pytorch.cuda.capture import GraphCache


class Replay:
    """Stands in for a captured graph, which needs a GPU: runs its work."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.replays, self._work = 0, work

    def replay(self) -> None:
        self.replays += 1
        self._work()


class StandInGraphs(GraphCache[Any]):
    """Captures `Replay` graphs; the first `failures` captures run out of memory."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__("work", enabled=True)
        self.failures, self.attempts = failures, 0
        self.made: list[Replay] = []

    def _capture(self, work: Callable[[], None]) -> Replay:  # type: ignore[override]
        self.attempts += 1
        if self.attempts <= self.failures:
            try:
                raise torch.OutOfMemoryError("CUDA out of memory")
            finally:
                # Its end raises while the graph is incomplete.
                raise RuntimeError("operation failed due to a previous error during capture")
        self.made.append(Replay(work))
        return self.made[-1]


class _BrokenGraph:
    """A graph whose capture fails at its end, as any forbidden operator makes it."""

    def capture_begin(self, *pool: object, **options: object) -> None:
        """Begin."""

    def capture_end(self) -> None:
        raise RuntimeError("CUDA error: operation failed due to a previous error during capture")


class _Stream:
    """Stands in for a stream, and is the context that makes it current."""

    current: _Stream

    def __enter__(self) -> None:
        self._before, _Stream.current = _Stream.current, self

    def __exit__(self, *_: object) -> None:
        _Stream.current = self._before

    def wait_stream(self, other: _Stream) -> None:
        """Wait."""


def break_captures(monkeypatch: pytest.MonkeyPatch) -> object:
    """Have every capture fail at its end, within PyTorch's context. Returns: the usual stream."""
    usual = _Stream.current = _Stream()
    for name, stand_in in {
        "CUDAGraph": _BrokenGraph,
        "Stream": _Stream,
        "stream": lambda stream: stream,
        "current_stream": lambda: _Stream.current,
        "set_stream": lambda stream: setattr(_Stream, "current", stream),
        "synchronize": lambda: None,
        "empty_cache": lambda: None,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_host_emptyCache", lambda: None, raising=False)
    return usual
