"""Compute used by one request on a remote deployment."""

from __future__ import annotations

import time


class Meter:
    """Seconds of compute, one entry for each piece of work.

    The platform's own figure replaces the time measured here. `may_be_running`: set if work may go
    on unobserved.
    """

    def __init__(self) -> None:
        self._pieces: list[float] = []
        self.may_be_running = False

    @property
    def seconds(self) -> float:
        """Total seconds of compute."""
        return sum(self._pieces)

    def add(self, seconds: float) -> None:
        """Add a piece of work, as measured here."""
        self._pieces.append(max(seconds, 0.0))

    def correct(self, seconds: object) -> None:
        """Replace the latest piece by the platform's figure; ignore anything but a number."""
        if self._pieces and isinstance(seconds, (int, float)) and seconds >= 0:
            self._pieces[-1] = float(seconds)


class JobTimer:
    """Time of one remote job, from its submission to its end.

    `reported_seconds`: compute by the platform's own count, None if it has none.
    """

    def __init__(self) -> None:
        self._submitted = time.monotonic()
        self._started: float | None = None
        self.reported_seconds: object = None

    @property
    def is_running(self) -> bool:
        """Whether the job was seen to run."""
        return self._started is not None

    @property
    def seconds(self) -> float:
        """Seconds since the job was first seen to run; else since its submission."""
        return time.monotonic() - (self._submitted if self._started is None else self._started)

    def mark_running(self) -> None:
        """Note that the job runs; the first call counts."""
        if self._started is None:
            self._started = time.monotonic()
