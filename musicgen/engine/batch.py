"""Continuous batching: jobs join and leave between the steps of one loop.

The caller's thread prepares its job, then waits for its steps; a thread of the batch's own runs
them, for as long as there are any. What a caller does with its samples (EnCodec, encoding, storing)
happens in its own thread, beside the steps of the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from musicgen.engine.decode_state import DecodeState
from musicgen.engine.device_errors import translate_device_errors
from musicgen.engine.scheduler import Scheduler
from musicgen.errors import DeviceFault, EngineBusy

logger = logging.getLogger(__name__)

CLOSED = "this engine is closed"
MAX_STEPS_AHEAD = 50
"""A second of music: a job whose caller does not look is decoded no further than this."""


class Ticket:
    """One job's place in the batch. Its fields are guarded by the batch's lock."""

    def __init__(self) -> None:
        self.state: DecodeState | None = None
        self.is_admitted = False
        self.steps_done = 0
        self.steps_seen = 0
        self.error: Exception | None = None

    @property
    def has_step_to_run(self) -> bool:
        state = self.state
        return (
            state is not None
            and self.error is None
            and self.steps_done < state.total_steps
            and self.steps_done - self.steps_seen < MAX_STEPS_AHEAD
        )


class Batch:
    """The jobs that are decoded together, at most `rows` decoder rows of them.

    `step` takes one step of each of several jobs.
    """

    def __init__(
        self,
        device: str,
        rows: int,
        max_waiting: int,
        step: Callable[[Sequence[DecodeState]], None],
    ) -> None:
        self._device, self._run_step = device, step
        self._scheduler: Scheduler[Ticket] = Scheduler(rows, max_waiting)
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def reserve(self, rows: int) -> Iterator[Ticket]:
        """A place in the line for a job of `rows` decoder rows, given up on the way out.

        Raises: `EngineBusy` when too many wait already.
        """
        ticket = Ticket()
        with self._changed:
            self._check_open()
            if not self._scheduler.enqueue(ticket, rows):
                waiting = self._scheduler.queue_length
                raise EngineBusy(f"{waiting} requests wait already: ask again in a while")
            self._admit()
        try:
            yield ticket
        finally:
            with self._changed:
                self._scheduler.remove(ticket)
                self._admit()
                self._changed.notify_all()

    def wait_for_turn(self, ticket: Ticket, seconds: float) -> bool:
        """Whether the ticket's turn has come, after at most `seconds`. Raises: what closed it."""
        with self._changed:
            self._changed.wait_for(lambda: ticket.is_admitted or ticket.error is not None, seconds)
            if ticket.error is not None:
                raise ticket.error
            return ticket.is_admitted

    def submit(self, ticket: Ticket, state: DecodeState) -> None:
        """Hands over what an is_admitted ticket is to decode next, from its first step on."""
        with self._changed:
            self._check_open()
            ticket.state, ticket.steps_done, ticket.steps_seen = state, 0, 0
            self._wake()

    def clear(self, ticket: Ticket) -> None:
        """Drops what a ticket has decoded; its place stays."""
        with self._changed:
            ticket.state = None

    def wait_for_step(self, ticket: Ticket) -> int:
        """Waits for the next step of a ticket and counts it as seen; the number of the step.

        Raises: what the step raised, `RuntimeError` when the engine was closed.
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
        """Ends the jobs that are left with an error, and waits for the step that is running."""
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
        """There is a step to do. The thread ends whenever there is none, so that none is left
        behind, waiting, by whoever forgets a job or ends the process."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="decode")
            self._thread.start()

    def _run(self) -> None:
        """In the batch's thread, as long as there is a step to do."""
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
            with translate_device_errors(self._device):
                self._run_step(states)
        except Exception as error:  # handed to the threads that wait
            self._handle_failure(tickets, error)
            return
        with self._changed:
            for ticket in tickets:
                ticket.steps_done += 1
            self._changed.notify_all()

    def _handle_failure(self, tickets: Sequence[Ticket], error: Exception) -> None:
        """A step of one job failed with the job; one of several is tried again, job by job."""
        if isinstance(error, DeviceFault):
            logger.error("the device failed; %d jobs end with it", len(tickets))
            with self._changed:
                self._fail(self._list_tickets(), lambda: DeviceFault(str(error)))
        elif len(tickets) == 1:
            with self._changed:
                self._fail(tickets, lambda: error)
        else:
            logger.warning("a step of %d jobs failed (%s): trying each alone", len(tickets), error)
            for ticket in tickets:
                self._step([ticket])

    def _list_tickets(self) -> list[Ticket]:
        return [*self._scheduler.active, *self._scheduler.queued]

    def _fail(self, tickets: Sequence[Ticket], error: Callable[[], Exception]) -> None:
        """Each gets an error of its own, because each is raised in another thread."""
        for ticket in tickets:
            ticket.error = ticket.error or error()
        self._changed.notify_all()
