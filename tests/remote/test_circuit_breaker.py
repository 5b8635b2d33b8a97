"""The breaker: whatever happens, nobody is let through while it is open, and one when it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from musicgen.remote.circuit_breaker import Attempt, CircuitBreaker

FAILURES, OPEN_SECONDS = 3, 60.0


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class BreakerMachine(RuleBasedStateMachine):
    """Against a model that knows only what happened since it last opened or closed."""

    @initialize()
    def begin(self) -> None:
        self.clock = _Clock()
        self.breaker = CircuitBreaker(FAILURES, OPEN_SECONDS, self.clock)
        self.under_way: list[Attempt] = []
        self.stale: list[Attempt] = []
        self.trial: Attempt | None = None
        self.opened: float | None = None
        self.in_a_row = 0

    def _turn(self, opened: float | None) -> None:
        self.stale += self.under_way
        self.under_way, self.trial, self.opened = [], None, opened
        if opened is None:
            self.in_a_row = 0

    @rule(seconds=st.floats(0, 2 * OPEN_SECONDS))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def somebody_enters(self) -> None:
        attempt = self.breaker.acquire()
        if self.opened is None:
            assert attempt is not None
        else:
            its_time = self.opened + OPEN_SECONDS <= self.clock.now
            assert (attempt is not None) == (its_time and self.trial is None)
            self.trial = self.trial or attempt
        if attempt is not None:
            self.under_way.append(attempt)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), end=st.sampled_from(["report_success", "report_failure", "drop"]))
    def one_ends(self, data: st.DataObject, end: str) -> None:
        attempt = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(attempt)
        getattr(attempt, end)()
        self.stale.append(attempt)
        if attempt is self.trial:
            self.trial = None
        if end == "report_success":
            self.in_a_row = 0
            if self.opened is not None:
                self._turn(None)
        elif end == "report_failure":
            self.in_a_row += 1
            if self.opened is not None or self.in_a_row == FAILURES:
                self._turn(self.clock.now)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), end=st.sampled_from(["report_success", "report_failure", "drop"]))
    def one_that_is_over_speaks(self, data: st.DataObject, end: str) -> None:
        """One that has ended, or began before it last opened or closed, changes nothing."""
        getattr(data.draw(st.sampled_from(self.stale)), end)()

    @invariant()
    def its_state_is_the_models(self) -> None:
        if self.opened is None:
            assert self.breaker.state == "closed" and self.breaker.seconds_left == 0
            return
        left = max(self.opened + OPEN_SECONDS - self.clock.now, 0.0)
        assert self.breaker.state == ("open" if left else "half-open")
        assert self.breaker.seconds_left == left


TestBreaker = BreakerMachine.TestCase


@given(st.integers(1, 5), st.integers(0, 20))
def test_it_opens_at_the_failures_in_a_row_and_not_before(failures: int, dropped: int) -> None:
    breaker = CircuitBreaker(failures, OPEN_SECONDS, _Clock())
    for index in range(failures):
        assert breaker.state == "closed"
        for _ in range(dropped):
            breaker.acquire().drop()  # type: ignore[union-attr]
        breaker.acquire().report_failure()  # type: ignore[union-attr]
        assert breaker.failures == index + 1
    assert breaker.state == "open" and breaker.acquire() is None


def test_of_many_threads_one_gets_the_try() -> None:
    clock = _Clock()
    breaker = CircuitBreaker(1, OPEN_SECONDS, clock)
    breaker.acquire().report_failure()  # type: ignore[union-attr]
    clock.now += OPEN_SECONDS
    together = threading.Barrier(8)

    def enter(_: int) -> Attempt | None:
        together.wait()
        return breaker.acquire()

    with ThreadPoolExecutor(8) as pool:
        assert sum(attempt is not None for attempt in pool.map(enter, range(8))) == 1
