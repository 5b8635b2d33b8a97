"""Worker process: takes jobs from the queue and runs them until it is stopped.

The database may restart; the model stays loaded meanwhile. Other workers take over the jobs left
unfinished, see `handlers.job_api.store.recovery`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from handlers.job_api.errors import build_failure
from handlers.job_api.store import jobs, queue, requeue
from handlers.job_api.store.claims import share_claims
from handlers.job_api.store.database import DISCONNECT_ERRORS, Pool, query
from handlers.job_api.store.life_lock import LifeLock
from handlers.job_api.store.models import WorkerRow, write_worker
from handlers.job_api.store.needs import list_abilities
from handlers.job_api.store.recovery import release_ended_runs
from handlers.job_api.worker.fetch_stage import FETCHES_AT_ONCE, FetchStage
from handlers.job_api.worker.outcome import FAILED, LEFT, JobOutcome
from handlers.job_api.worker.queue_loop import HEARTBEAT_SECONDS, QueueLoop
from musicgen.errors import DeviceFault, GenerationCancelled, MusicGenError
from musicgen.errors.counts import format_count
from musicgen.process.logs import about
from musicgen.process.tracing import note, past_span, span

if TYPE_CHECKING:
    from procrastinate import App, JobContext

    from handlers.job_api.worker.metrics import WorkerMetrics

_REPEAT_SECONDS = 0.5
"""Signals this close are one: a terminal and a program around this one send the same Ctrl-C."""
_PUT_BACK_SECONDS, _LEAVE_SECONDS = 5.0, 10.0
"""Longest time to put a job back, and to end after that, while the database is away."""

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Way of running jobs: local or remote."""

    async def execute(self, run: jobs.WorkerRun) -> JobOutcome:
        """Run a job and store its end in the database.

        Raises: `MusicGenError` for a failure on this machine; the worker then fails the job.
        """
        ...


@dataclass(frozen=True)
class WorkerRole:
    """Role of a worker.

    `queue_name`: the queue it serves. `slots`: number of jobs run at once. `models`: returns the
    names of the loaded models, `loading` the name of the model in loading. `device`: the place of
    its jobs in the log, such as cuda:0. `fetch_stage`: None for remote jobs. `licences`: by model,
    of those outside the catalog. `missing`: returns the names of the catalog that it cannot have,
    `missing_parts` the fields that it cannot serve, each with what to do about it.
    """

    queue_name: str
    slots: int
    executor: Executor
    models: Callable[[], tuple[str, ...]]
    loading: Callable[[], str | None] = lambda: None
    device: str = "elsewhere"
    fetch_stage: FetchStage | None = None
    licences: Mapping[str, str] = field(default_factory=dict)
    missing: Callable[[], tuple[str, ...]] = tuple
    missing_parts: Callable[[], Mapping[str, str]] = dict

    def list_abilities(self) -> list[str] | None:
        """Return the needs of the jobs that this worker takes; None for any job."""
        if self.queue_name == queue.REMOTE:
            return None
        models = (*self.models(), *self.licences)
        return list_abilities(models, self.missing(), self.missing_parts())


class Worker:
    """Worker of one queue.

    `drain`: seconds to finish running jobs after `stop`. `data_dir`: folder of its `LifeLock`.
    `name`: different at each start.
    """

    def __init__(
        self,
        pool: Pool,
        app: App,
        role: WorkerRole,
        drain: float,
        data_dir: Path,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._pool = pool
        self._app = app
        self._role = role
        self._drain = drain
        self._metrics = metrics
        self._stopping, self._leaving = asyncio.Event(), asyncio.Event()
        # Host name and process number return with a restarted container; the rest never does.
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._data_dir = data_dir
        self.lost_device = False
        self._tasks: dict[asyncio.Task[Any], int] = {}
        self._stopped_at = 0.0
        share_claims(app, role.list_abilities)
        app.task(name=queue.GENERATE, pass_context=True)(self._generate)
        if role.fetch_stage is not None:
            role.fetch_stage.name(self.name)

    @property
    def takes_jobs(self) -> bool:
        """Whether the worker takes new jobs."""
        return not self._stopping.is_set()

    @property
    def is_idle(self) -> bool:
        """Whether no job runs here."""
        return not self._tasks

    def stop(self) -> None:
        """Take no more jobs; running ones are finished within the drain time."""
        if not self._stopping.is_set():
            facts = (self.name, len(self._tasks), self._drain)
            logger.info("worker stops taking jobs worker=%s running=%d drain_seconds=%g", *facts)
            self._stopping.set()
            if self._role.fetch_stage is not None:
                self._role.fetch_stage.stop()
            asyncio.get_running_loop().call_later(self._drain, self.put_back_jobs)

    def put_back_jobs(self) -> None:
        """End the running jobs, and put them back into the queue for other workers."""
        if self._tasks:
            count = format_count(len(self._tasks), "running job")
            logger.warning("Putting back %s, because this stops.", count)
        for task in self._tasks:
            task.cancel()
        asyncio.get_running_loop().call_later(_LEAVE_SECONDS, self._leaving.set)

    def stop_on_signals(self) -> None:
        """Stop at SIGTERM and SIGINT, and put back the running jobs at the second signal.

        Call this in the running event loop.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle_signal)

    def _handle_signal(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._stopping.is_set():
            self._stopped_at = now
        elif now - self._stopped_at > _REPEAT_SECONDS:
            self.put_back_jobs()
        self.stop()

    async def run(self) -> None:
        """Take and run jobs; return after `stop`, once no job is running."""
        life = LifeLock(self._data_dir, self.name)
        heartbeat = asyncio.create_task(self._send_heartbeats(), name="worker heartbeat")
        try:
            served = {self._role.queue_name: self._role.slots}
            if self._role.fetch_stage is not None:
                served[queue.FETCH] = FETCHES_AT_ONCE
            loop = QueueLoop(self._app, self.name, self._stopping, self._leaving)
            await asyncio.gather(*(loop.serve(*one) for one in served.items()))
        finally:
            heartbeat.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heartbeat
            with contextlib.suppress(Exception):
                await query(self._pool, "DELETE FROM musicgen_workers WHERE name = %s", self.name)
            life.release()
            logger.info("worker has stopped worker=%s", self.name)

    async def _generate(self, context: JobContext, job_id: str) -> None:
        """Run one task of the queue."""
        queue_id, task = context.job.id, asyncio.current_task()
        assert queue_id is not None, "a task from the database has an id"
        assert task is not None, "procrastinate runs jobs in tasks"
        self._tasks[task] = queue_id
        try:
            run = await jobs.begin(self._pool, job_id, queue_id, self.name)
            if run is not None:
                await self._measure(run)
                if run.fetched is not None and self._role.fetch_stage is not None:
                    await self._role.fetch_stage.delete_sound(run.id)
        finally:
            del self._tasks[task]

    async def _measure(self, run: jobs.WorkerRun) -> None:
        """Run a job with its metrics, and put it back if this worker ends before the job."""
        began, outcome = time.monotonic(), LEFT
        if self._metrics is not None:
            self._metrics.record_job_start(run.waited)
        self._log_start(run)
        try:
            outcome = await self._execute_in_span(run)
            if outcome is LEFT:
                await self._put_back(run)
        except asyncio.CancelledError:
            await self._put_back(run)
            raise
        finally:
            duration = time.monotonic() - began
            self._log_end(run, outcome, duration)
            if self._metrics is not None:
                self._metrics.record_job_end(outcome, run.waited, duration)

    def _log_start(self, run: jobs.WorkerRun) -> None:
        facts = (run.id, run.attempt, self._role.device, run.waited)
        with about(run.id, run.trace):
            logger.info("job starts job_id=%s attempt=%d device=%s waited=%.3g", *facts)

    def _log_end(self, run: jobs.WorkerRun, outcome: JobOutcome, duration: float) -> None:
        facts = (run.id, outcome.kind, self._role.device, duration, outcome.audio_seconds)
        line = "job ended job_id=%s outcome=%s device=%s seconds=%.3g audio_seconds=%.3g"
        with about(run.id, run.trace):
            logger.info(line, *facts)

    async def _put_back(self, run: jobs.WorkerRun) -> None:
        """Queue a job again. While the database is away, recovery does it after the timeout."""
        try:
            await asyncio.wait_for(requeue.put_back(self._pool, self._app, run), _PUT_BACK_SECONDS)
        except (TimeoutError, *DISCONNECT_ERRORS):
            logger.warning("Job %s is left to recovery: the database is unavailable.", run.id)

    async def _execute_in_span(self, run: jobs.WorkerRun) -> JobOutcome:
        """Run a job within its trace and log context."""
        past_span("musicgen.queue", run.waited, run.trace, job_id=run.id)
        facts: dict[str, Any] = {"job_id": run.id, "attempt": run.attempt, "worker": self.name}
        with about(run.id, run.trace), span("musicgen.job", run.trace, "consumer", **facts):
            outcome = await self._execute(run)
            note(
                outcome=outcome.kind,
                audio_seconds=outcome.audio_seconds,
                real_time_factor=outcome.real_time_factor,
                first_audio_seconds=outcome.first_audio,
            )
            return outcome

    async def _execute(self, run: jobs.WorkerRun) -> JobOutcome:
        """Run a job and turn failures into an outcome. Raises: `DeviceFault`."""
        try:
            return await self._role.executor.execute(run)
        except GenerationCancelled:
            # This worker stops before the end of the job; another one runs it again.
            logger.info("Job %s was left to other workers because this one stops.", run.id)
            return LEFT
        except DeviceFault:
            # The device works only in a new process. Stop, so that the supervisor starts one;
            # recovery passes the job to another worker.
            logger.exception("The device was lost in job %s; stopping this worker.", run.id)
            self.lost_device = True
            self.stop()
            raise
        except Exception as error:
            if not isinstance(error, MusicGenError):
                logger.exception("Job %s failed unexpectedly.", run.id)
            await jobs.fail(self._pool, run, build_failure(error))
            return FAILED

    async def _send_heartbeats(self) -> None:
        """Write this worker's row regularly: its slots and models, and the time."""
        while True:
            try:
                await write_worker(self._pool, self._describe())
                await release_ended_runs(self._pool, self.name, self._tasks.values)
            except DISCONNECT_ERRORS:
                pass
            except Exception:
                logger.exception("The row of worker %s was not written; trying again.", self.name)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _describe(self) -> WorkerRow:
        role = self._role
        makes = queue.REMOTE if role.queue_name == queue.REMOTE else queue.LOCAL
        abilities = role.list_abilities()
        models, loading = list(role.models()), role.loading()
        fetches = role.fetch_stage is not None
        facts = (self.name, role.slots, makes, models, loading, role.licences, fetches)
        return WorkerRow(*facts, role.missing(), role.missing_parts(), abilities)
