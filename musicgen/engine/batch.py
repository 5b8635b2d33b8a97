"""Continuous batching: jobs join and leave between the steps of one decode loop.

The caller's thread prepares its job and then waits for steps. A single decode thread runs the steps
and exists only while there are any. Callers decode, encode and store their audio in their own
threads, in parallel with the steps of other jobs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from musicgen.engine.backend import WindowState
from musicgen.engine.scheduler import Scheduler
from musicgen.errors import DeviceFault, EngineBusy

logger = logging.getLogger(__name__)

CLOSED = "The engine is closed."
MAX_STEPS_AHEAD = 50
"""A second of music. A job pauses this far ahead of a caller that does not read its steps."""


class Ticket:
    """Place of one job in the batch or its queue. The batch's lock guards the fields."""

    def __init__(self) -> None:
        self.state: WindowState | None = None
        self.is_admitted = False
        self.steps_done = 0
        self.steps_seen = 0
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


class Batch:
    """Jobs decoded together, at most `rows` decoder rows of them.

    `step` runs one step of each of the given jobs; `translate_errors` is the context of its errors.
    """

    def __init__(
        self,
        translate_errors: Callable[[], AbstractContextManager[None]],
        rows: int,
        max_waiting: int,
        step: Callable[[Sequence[WindowState]], None],
    ) -> None:
        self._translate_errors, self._run_step = translate_errors, step
        self._scheduler: Scheduler[Ticket] = Scheduler(rows, max_waiting)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def reserve(self, rows: int) -> Iterator[Ticket]:
        """Reserve a place for a job of `rows` decoder rows; release it on exit.

        Raises: `EngineBusy` when the queue is full.
        """
        ticket = Ticket()
        with self._changed:
            self._check_open()
            if not self._scheduler.enqueue(ticket, rows):
                waiting = self._scheduler.queue_length
                raise EngineBusy(f"The queue is full ({waiting} requests). Try again later.")
            self._admit()
        try:
            yield ticket
        finally:
            with self._changed:
                self._scheduler.remove(ticket)
                self._admit()
                self._changed.notify_all()

    def wait_for_turn(self, ticket: Ticket, seconds: float) -> bool:
        """Wait at most `seconds` for admission; return whether the ticket is admitted.

        Raises: the error of a ticket that failed meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: ticket.is_admitted or ticket.error is not None, seconds)
            if ticket.error is not None:
                raise ticket.error
            return ticket.is_admitted

    def submit(self, ticket: Ticket, state: WindowState) -> None:
        """Start decoding `state`, from its first step on, for an admitted ticket."""
        with self._changed:
            self._check_open()
            ticket.state, ticket.steps_done, ticket.steps_seen = state, 0, 0
            self._wake()

    def clear(self, ticket: Ticket) -> None:
        """Drop the decode state of a ticket; its place stays reserved."""
        with self._changed:
            ticket.state = None

    def wait_for_step(self, ticket: Ticket) -> int:
        """Wait for the next step of a ticket, mark it as seen and return its number.

        Raises: the step's error, or `RuntimeError` when the engine is closed.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: ticket.steps_done > ticket.steps_seen or ticket.error is not None
            )
            if ticket.steps_done == ticket.steps_seen:
                assert ticket.error is not None
                raise ticket.error
            was_paused = not ticket.has_step_to_run
            ticket.steps_seen += 1
            if was_paused and ticket.has_step_to_run:
                self._wake()
            return ticket.steps_seen

    def close(self) -> None:
        """End all remaining jobs with an error and wait for the running step."""
        with self._changed:
            self._closed = True
            self._fail(self._list_tickets(), lambda: RuntimeError(CLOSED))
            thread = self._thread
        if thread is not None:
            thread.join()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(CLOSED)

    def _admit(self) -> None:
        for ticket in self._scheduler.admit():
            ticket.is_admitted = True
            self._changed.notify_all()

    def _wake(self) -> None:
        """Start the decode thread if none is running.

        The thread ends when no step is left, so an abandoned job leaves no waiting thread.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="decode")
            self._thread.start()

    def _run(self) -> None:
        """Run steps in the decode thread until none is left."""
        while True:
            with self._changed:
                tickets = self._select_ready()
                if not tickets:
                    self._thread = None
                    return
            self._step(tickets)

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
        with self._changed:
            for ticket in tickets:
                ticket.steps_done += 1
            self._changed.notify_all()

    def _handle_failure(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """Fail a single job; repeat the step of several jobs one by one to find the failing one.

        A device fault fails every job, queued ones included.
        """
        if isinstance(error, DeviceFault):
            logger.error("Device fault; failing all jobs (%d in this step).", len(tickets))
            with self._changed:
                self._fail(self._list_tickets(), lambda: DeviceFault(str(error)))
        elif len(tickets) == 1:
            with self._changed:
                self._fail(tickets, lambda: error)
        else:
            logger.warning("Step of %d jobs failed (%s); running each alone.", len(tickets), error)
            for ticket in tickets:
                self._step([ticket])

    def _list_tickets(self) -> list[Ticket]:
        return [*self._scheduler.active, *self._scheduler.queue]

    def _fail(self, tickets: Sequence[Ticket], error: Callable[[], Exception]) -> None:
        """Set an error on each ticket.

        Each error is an instance of its own, because each is raised in its own thread.
        """
        for ticket in tickets:
            ticket.error = ticket.error or error()
        self._changed.notify_all()
