"""A stopwatch for laps."""

from __future__ import annotations

import time


class Stopwatch:
    """Stopwatch started by its construction."""

    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Return the seconds since the last lap, or since the start."""
        now = time.perf_counter()
        elapsed, self._last = now - self._last, now
        return elapsed
