"""A worker: takes jobs from the queue and does them, until it is told to stop.

The queue may go away and come back (a restarted database); the model stays loaded meanwhile. What
a worker cannot finish before its end is found by the others, see `handlers.job_api.store.recovery`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.worker.local_executor import failure_of
from handlers.job_api.worker.outcome import FAILED, LEFT, Outcome
from musicgen.errors import DeviceFault, GenerationCancelled, MusicGenError
from musicgen.process.logs import about
from musicgen.process.tracing import note, past_span, span

if TYPE_CHECKING:
    from procrastinate import App, JobContext

    from handlers.job_api.worker.metrics import WorkerMetrics

HEARTBEAT_SECONDS = 3.0
_PAUSE_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Maker(Protocol):
    """Does one job and ends it in the database. Raises: `MusicGenError` for what failed here."""

    async def do(self, run: jobs.Run) -> Outcome: ...


@dataclass(frozen=True)
class Duty:
    """What a worker takes: from which `queue_name`, how many at once, with what."""

    queue_name: str
    slots: int
    maker: Maker
    models: Callable[[], tuple[str, ...]]
    loading: Callable[[], str | None] = lambda: None


class Worker:
    """`drain` is how many seconds it may take to finish its jobs once it is told to stop."""

    def __init__(
        self,
        pool: Pool,
        app: App,
        duty: Duty,
        drain: float,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._pool = pool
        self._app = app
        self._duty = duty
        self._drain = drain
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.lost_device = False
        app.task(name=queue.GENERATE, pass_context=True)(self._generate)

    @property
    def takes_jobs(self) -> bool:
        return not self._stopping.is_set()

    def stop(self) -> None:
        """Takes no more jobs; those that run are finished."""
        self._stopping.set()

    def stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    async def run(self) -> None:
        """Returns when it has been told to stop and nothing runs any more."""
        telling = asyncio.create_task(self._tell(), name="worker heartbeat")
        try:
            while not self._stopping.is_set():
                await self._until_stopped(self._work)
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling
            with contextlib.suppress(Exception):
                await query(self._pool, "DELETE FROM musicgen_workers WHERE name = %s", self.name)

    async def _work(self) -> None:
        await self._app.run_worker_async(
            queues=[self._duty.queue_name],
            name=self.name,
            concurrency=self._duty.slots,
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT_SECONDS,
            fetch_job_polling_interval=1.0,
            shutdown_graceful_timeout=self._drain,
            delete_jobs="never",
        )

    async def _until_stopped(self, work: Callable[[], Awaitable[None]]) -> None:
        working = asyncio.ensure_future(work())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        working.cancel()
        try:
            await working
        except asyncio.CancelledError:
            pass
        except Exception:
            logger.warning("the queue is away: again in a moment", exc_info=True)
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _generate(self, context: JobContext, job_id: str) -> None:
        """One task of the queue."""
        queue_id = context.job.id
        assert queue_id is not None, "it comes from the database"
        run = await jobs.begin(self._pool, job_id, queue_id, self.name)
        if run is None:
            return
        began, outcome = time.monotonic(), LEFT
        if self._metrics is not None:
            self._metrics.begun(run.waited)
        try:
            outcome = await self._traced(run)
        finally:
            if self._metrics is not None:
                self._metrics.ended(outcome, run.waited, time.monotonic() - began)

    async def _traced(self, run: jobs.Run) -> Outcome:
        past_span("musicgen.queue", run.waited, run.trace, job_id=run.id)
        told: dict[str, Any] = {"job_id": run.id, "attempt": run.attempt, "worker": self.name}
        with about(run.id, run.trace), span("musicgen.job", run.trace, "consumer", **told):
            outcome = await self._done(run)
            note(
                outcome=outcome.kind,
                audio_seconds=outcome.audio_seconds,
                real_time_factor=outcome.real_time_factor,
                first_audio_seconds=outcome.first_audio,
            )
            return outcome

    async def _done(self, run: jobs.Run) -> Outcome:
        try:
            return await self._duty.maker.do(run)
        except GenerationCancelled:
            # Of a worker that stops before its end: somebody else does it.
            logger.info("job %s was given up by this worker", run.id)
            return LEFT
        except DeviceFault:
            # Nothing works on this device any more: whoever started this process replaces it, and
            # the job is found by the others.
            logger.exception("the device is lost in job %s", run.id)
            self.lost_device = True
            self.stop()
            raise
        except Exception as error:
            if not isinstance(error, MusicGenError):
                logger.exception("job %s failed unexpectedly", run.id)
            await jobs.fail(self._pool, run, failure_of(error))
            return FAILED

    async def _tell(self) -> None:
        """Says that it is there, and what it has loaded."""
        while True:
            with contextlib.suppress(Exception):
                await query(self._pool, _SEEN, *self._row())
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _row(self) -> list[Any]:
        duty = self._duty
        makes = queue.REMOTE if duty.queue_name == queue.REMOTE else queue.LOCAL
        return [self.name, duty.slots, makes, list(duty.models()), duty.loading()]


_SEEN = """
    INSERT INTO musicgen_workers (name, slots, makes, models, loading, seen_at)
    VALUES (%s, %s, %s, %s, %s, now())
    ON CONFLICT (name) DO UPDATE SET slots = excluded.slots, makes = excluded.makes,
        models = excluded.models, loading = excluded.loading, seen_at = now()
"""
