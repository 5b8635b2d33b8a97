"""Continuous batching: jobs join and leave between the steps of one decode loop.

The caller's thread prepares its job and then waits for steps. The steps run one after another in
the device thread, as long as there are any. Callers decode, encode and store their audio in their
own threads, in parallel with the steps of other jobs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from musicgen.engine.backend import WindowState
from musicgen.engine.scheduler import Scheduler
from musicgen.errors import DeviceFault, EngineBusy
from musicgen.errors.counts import format_count
from musicgen.model.forks import call_after_fork

logger = logging.getLogger(__name__)

CLOSED = "The engine is closed."
MAX_STEPS_AHEAD = 50
"""A second of music. A job pauses this far ahead of a caller that does not read its steps."""


class Ticket:
    """Place of one job in the batch or its queue. The batch's `lock` guards the fields."""

    def __init__(self, lock: threading.Lock) -> None:
        self.changed = threading.Condition(lock)
        self.state: WindowState | None = None
        self.is_admitted = False
        self.steps_done = 0
        self.steps_seen = 0
        self.steps_wanted = 0
        self.error: Exception | None = None

    @property
    def has_step_to_run(self) -> bool:
        """Whether the next step may run."""
        state = self.state
        return (
            state is not None
            and self.error is None
            and self.steps_done < state.total_steps
            and self.steps_done - self.steps_seen < MAX_STEPS_AHEAD
        )

    @property
    def has_wanted_steps(self) -> bool:
        """Whether the caller need not wait any longer."""
        return self.steps_done >= self.steps_wanted or self.error is not None

    def fail(self, error: Exception) -> None:
        """Set an error, unless there is one."""
        self.error = self.error or error
        self.changed.notify()


class Batch:
    """Jobs decoded together, at most `rows` decoder rows of them.

    `step` runs one step of each of the given jobs; `translate_errors` is the context of its errors.
    `start` lets a function run in the device thread, and raises `RuntimeError` if that has ended.
    """

    def __init__(
        self,
        translate_errors: Callable[[], AbstractContextManager[None]],
        rows: int,
        max_waiting: int,
        step: Callable[[Sequence[WindowState]], None],
        start: Callable[[Callable[[], None]], None],
    ) -> None:
        self._translate_errors, self._run_step, self._start = translate_errors, step, start
        self._limits = (rows, max_waiting)
        self._closed = False
        self._renew()
        call_after_fork(self, Batch._renew)

    def _renew(self) -> None:
        """Begin without jobs, also in a forked process, which lacks the threads of its parent."""
        self._scheduler: Scheduler[Ticket] = Scheduler(*self._limits)
        self._lock = threading.Lock()
        self._is_running = False

    @contextmanager
    def reserve(self, rows: int) -> Iterator[Ticket]:
        """Reserve a place for a job of `rows` decoder rows; release it on exit.

        Raises: `EngineBusy` when the queue is full.
        """
        ticket = Ticket(self._lock)
        with self._lock:
            self._check_open()
            if not self._scheduler.enqueue(ticket, rows):
                waiting = self._scheduler.queue_length
                raise EngineBusy(
                    f"The queue is full ({format_count(waiting, 'request')}). Try again later."
                )
            self._admit()
        try:
            yield ticket
        finally:
            with self._lock:
                self._scheduler.remove(ticket)
                self._admit()

    def wait_for_turn(self, ticket: Ticket, seconds: float) -> bool:
        """Wait at most `seconds` for admission; return whether the ticket is admitted.

        Raises: the error of a ticket that failed meanwhile.
        """
        with self._lock:
            ticket.changed.wait_for(lambda: ticket.is_admitted or ticket.error is not None, seconds)
            if ticket.error is not None:
                raise ticket.error
            return ticket.is_admitted

    def submit(self, ticket: Ticket, state: WindowState) -> None:
        """Start decoding `state`, from its first step on, for an admitted ticket."""
        with self._lock:
            self._check_open()
            ticket.state, ticket.steps_done, ticket.steps_seen = state, 0, 0
            self._wake()

    def clear(self, ticket: Ticket) -> None:
        """Drop the decode state of a ticket; its place stays reserved."""
        with self._lock:
            ticket.state = None

    def wait_for_steps(self, ticket: Ticket, wanted: int, seconds: float) -> int:
        """Wait until `wanted` steps of a ticket are done, or after `seconds` for a new one.

        A caller that wakes after every step delays the next one, because one Python thread runs at
        a time.

        Returns: the steps done, at most `wanted`. They count as seen.

        Raises: the step's error, or `RuntimeError` when the engine is closed.
        """
        with self._lock:
            ticket.steps_wanted = wanted
            while True:
                ticket.changed.wait_for(lambda: ticket.has_wanted_steps, seconds)
                if ticket.steps_done > ticket.steps_seen:
                    break
                if ticket.error is not None:
                    raise ticket.error
            was_paused = not ticket.has_step_to_run
            ticket.steps_seen = min(ticket.steps_done, wanted)
            if was_paused and ticket.has_step_to_run:
                self._wake()
            return ticket.steps_seen

    def close(self) -> None:
        """End all remaining jobs with an error."""
        with self._lock:
            self._closed = True
            self._fail(self._list_tickets(), lambda: RuntimeError(CLOSED))

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(CLOSED)

    def _admit(self) -> None:
        for ticket in self._scheduler.admit():
            ticket.is_admitted = True
            ticket.changed.notify()

    def _wake(self) -> None:
        """Start the steps if none runs."""
        if not self._is_running:
            self._is_running = True
            self._start_step()

    def _start_step(self) -> None:
        try:
            self._start(self._run)
        except RuntimeError as error:  # the process ends
            self._is_running = False
            reason = str(error)
            self._fail(self._list_tickets(), lambda: RuntimeError(reason))

    def _run(self) -> None:
        """Run one step of all jobs, then start the next one.

        In between, the device thread can do what else waits for it.
        """
        with self._lock:
            tickets = self._select_ready()
            if not tickets:
                self._is_running = False
                return
        self._step(tickets)
        with self._lock:
            self._start_step()

    def _select_ready(self) -> list[Ticket]:
        return [ticket for ticket in self._scheduler.active if ticket.has_step_to_run]

    def _step(self, tickets: Sequence[Ticket]) -> None:
        states = [ticket.state for ticket in tickets if ticket.state is not None]
        try:
            with self._translate_errors():
                self._run_step(states)
        except Exception as error:  # raised in the threads of the callers
            self._handle_failure(tickets, error)
            return
        with self._lock:
            for ticket in tickets:
                ticket.steps_done += 1
                if ticket.has_wanted_steps:
                    ticket.changed.notify()

    def _handle_failure(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """Fail a single job; repeat the step of several jobs one by one to find the failing one.

        A device fault fails every job, queued ones included.
        """
        if isinstance(error, DeviceFault):
            logger.error("Device fault; failing all jobs (%d in this step).", len(tickets))
            with self._lock:
                self._fail(self._list_tickets(), lambda: DeviceFault(str(error)))
        elif len(tickets) == 1:
            with self._lock:
                self._fail(tickets, lambda: error)
        else:
            jobs = format_count(len(tickets), "job")
            logger.warning("Step of %s failed (%s); running each alone.", jobs, error)
            for ticket in tickets:
                self._step([ticket])

    def _list_tickets(self) -> list[Ticket]:
        return [*self._scheduler.active, *self._scheduler.queue]

    def _fail(self, tickets: Sequence[Ticket], error: Callable[[], Exception]) -> None:
        """Set an error on each ticket.

        Each error is an instance of its own, because each is raised in its own thread.
        """
        for ticket in tickets:
            ticket.fail(error())
