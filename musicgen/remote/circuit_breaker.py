"""Not asking for a while what has just failed several times."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]
FAILURES = 3
OPEN_SECONDS = 60.0


class Breaker:
    """Closed it lets everybody through. `failures` in a row open it for `open_seconds`, in which it
    lets nobody through; then it is half-open and lets one through, whose success closes it and
    whose failure opens it again. For any number of threads."""

    def __init__(
        self,
        failures: int = FAILURES,
        open_seconds: float = OPEN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = failures
        self._open_seconds = open_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._opened: float | None = None
        self._trial: Attempt | None = None
        self._turns = 0

    def enter(self) -> Attempt | None:
        """Leave to try, or None. Whoever gets it says what came of it."""
        with self._lock:
            if self._opened is None:
                return Attempt(self, self._turns)
            if self._trial is not None or self._seconds_left() > 0:
                return None
            self._trial = Attempt(self, self._turns)
            return self._trial

    @property
    def state(self) -> State:
        with self._lock:
            if self._opened is None:
                return "closed"
            return "open" if self._seconds_left() > 0 else "half-open"

    @property
    def failures(self) -> int:
        """In a row, until now."""
        with self._lock:
            return self._failures

    @property
    def seconds_left(self) -> float:
        """Until it lets one through; 0 where it is not open."""
        with self._lock:
            return self._seconds_left()

    def _seconds_left(self) -> float:
        if self._opened is None:
            return 0.0
        return max(self._opened + self._open_seconds - self._clock(), 0.0)

    def _ended(self, attempt: Attempt, turn: int, succeeded: bool | None) -> None:
        with self._lock:
            # Whoever began before it last opened or closed tells of a time that is over.
            if turn != self._turns:
                return
            if attempt is self._trial:
                self._trial = None
            if succeeded:
                self._failures = 0
                self._turn(None)
            elif succeeded is False:
                self._failures += 1
                if self._opened is not None or self._failures >= self._most:
                    self._turn(self._clock())

    def _turn(self, opened: float | None) -> None:
        if opened is not None or self._opened is not None:
            self._turns += 1
        self._opened = opened


class Attempt:
    """One that was let through. The first word about it counts, later ones do nothing."""

    def __init__(self, breaker: Breaker, turn: int) -> None:
        self._breaker: Breaker | None = breaker
        self._turn = turn

    def succeeded(self) -> None:
        self._end(True)

    def failed(self) -> None:
        self._end(False)

    def dropped(self) -> None:
        """It says nothing about the other side: cancelled, or refused for what was asked."""
        self._end(None)

    def _end(self, succeeded: bool | None) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._ended(self, self._turn, succeeded)
