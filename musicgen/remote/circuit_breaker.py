"""Circuit breaker: a pause in the calls to a deployment after repeated failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]
FAILURES = 3
OPEN_SECONDS = 60.0


class CircuitBreaker:
    """Circuit breaker for one remote deployment, for any number of threads.

    Closed, it permits every attempt. `failures` in a row open it for `open_seconds`; open, it
    permits none. Then it is half-open and permits one attempt: success closes it, failure opens it
    again. `clock`: monotonic seconds.
    """

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

    def acquire(self) -> Attempt | None:
        """Acquire permission for one attempt, or None. The caller must report the result."""
        with self._lock:
            if self._opened is None:
                return Attempt(self, self._turns)
            if self._trial is not None or self._seconds_left() > 0:
                return None
            self._trial = Attempt(self, self._turns)
            return self._trial

    @property
    def state(self) -> State:
        """Present state."""
        with self._lock:
            if self._opened is None:
                return "closed"
            return "open" if self._seconds_left() > 0 else "half-open"

    @property
    def failures(self) -> int:
        """Number of failures in a row."""
        with self._lock:
            return self._failures

    @property
    def seconds_left(self) -> float:
        """Seconds until the next permitted attempt; 0 unless open."""
        with self._lock:
            return self._seconds_left()

    def _seconds_left(self) -> float:
        if self._opened is None:
            return 0.0
        return max(self._opened + self._open_seconds - self._clock(), 0.0)

    def _end(self, attempt: Attempt, turn: int, succeeded: bool | None) -> None:
        with self._lock:
            # An attempt from before the last change of state says nothing about the present.
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
    """Permitted attempt. Its first report counts; later ones have no effect."""

    def __init__(self, breaker: CircuitBreaker, turn: int) -> None:
        self._breaker: CircuitBreaker | None = breaker
        self._turn = turn

    def report_success(self) -> None:
        """Report a success."""
        self._end(True)

    def report_failure(self) -> None:
        """Report a failure of the deployment."""
        self._end(False)

    def drop(self) -> None:
        """Report an end without evidence: a cancellation, or a fault of the request."""
        self._end(None)

    def _end(self, succeeded: bool | None) -> None:
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._end(self, self._turn, succeeded)
