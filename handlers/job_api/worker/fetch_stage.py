"""Fetching of jobs' sounds from web addresses, before the jobs take slots.

A slow server delays only the jobs that name it: fetches have their own loop beside the slots, and
an owner has few of them at once, see `queue.put_fetch`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handlers.input_audio import LIMITS
from handlers.job_api.errors import TooManyUploads, build_failure
from handlers.job_api.store import fetches, queue, uploads
from handlers.job_api.store.database import DISCONNECT_ERRORS, Pool
from handlers.job_api.store.disk import check_room, hide_disk_errors
from handlers.job_api.store.upload_files import UploadFiles
from handlers.job_api.worker.outcome import FAILED, MOVED, REFUSED, JobOutcome
from handlers.job_api.worker.progress import REPORT_SECONDS
from musicgen.errors import GenerationCancelled, InvalidRequest, MusicGenError, StorageError
from musicgen.net.fetch import download
from musicgen.process.logs import about
from musicgen.process.tracing import span
from musicgen.remote.policy import may_be_made_elsewhere
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from procrastinate import App, JobContext

    from handlers.job_api.worker.metrics import WorkerMetrics

FETCHES_AT_ONCE = 16
_PUT_BACK_SECONDS = 5.0
_WORK = "a fetched sound"
_EXPECTED = (MusicGenError, TooManyUploads)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FetchRules:
    """Rules of the fetch stage.

    `networks`: private networks allowed as a source. `quota`: for all uploads of one owner.
    `reserve`: bytes that stay free on the disk. `remote_queue`: the queue for jobs with a failure
    of this machine, None to fail them.
    """

    networks: tuple[str, ...]
    quota: uploads.UploadQuota
    reserve: int
    remote_queue: str | None = None

    @classmethod
    def from_settings(
        cls, settings: ApiSettings, networks: tuple[str, ...], remote_queue: str | None = None
    ) -> FetchRules:
        """Return the rules of the API's settings."""
        reserve = settings.disk_reserve_mb * uploads.MEGABYTE
        return cls(networks, uploads.UploadQuota.from_settings(settings), reserve, remote_queue)


class FetchStage:
    """Fetch stage of one worker."""

    def __init__(
        self,
        pool: Pool,
        app: App,
        stored: UploadFiles,
        rules: FetchRules,
        metrics: WorkerMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._pool, self._app = pool, app
        self._stored, self._rules = stored, rules
        # Threads of their own: fetches in the loop's few shared ones would delay other work.
        self._threads = ThreadPoolExecutor(FETCHES_AT_ONCE, thread_name_prefix="input-audio")
        self._stops: set[threading.Event] = set()
        self._is_stopping = False
        self._worker = ""
        app.task(name=queue.FETCH_SOUND, pass_context=True)(self._run)

    def name(self, worker: str) -> None:
        """Set the name of the worker, for the rows of its jobs."""
        self._worker = worker

    def stop(self) -> None:
        """End the running fetches, and put their jobs back for other workers."""
        self._is_stopping = True
        for stop in self._stops:
            stop.set()

    async def delete_sound(self, job_id: str) -> None:
        """Delete the fetched sound of a job if the job has ended; retention deletes what stays."""
        with contextlib.suppress(StorageError, *DISCONNECT_ERRORS):
            upload_id = await fetches.find_sound_of_ended(self._pool, job_id)
            if upload_id is not None:
                await self._discard(upload_id)

    async def _run(self, context: JobContext, job_id: str) -> None:
        """Run one task of the fetch queue."""
        queue_id = context.job.id
        assert queue_id is not None, "a task from the database has an id"
        fetch = await fetches.begin(self._pool, job_id, queue_id, self._worker)
        if fetch is None:
            return
        with about(fetch.job_id, fetch.trace):
            try:
                with span(
                    "musicgen.fetch",
                    fetch.trace,
                    "consumer",
                    expected=_EXPECTED,
                ):
                    await self._fetch(fetch)
            except GenerationCancelled:
                if self._is_stopping:
                    await self._put_back(fetch)
            except Exception as error:
                await self._end(fetch, error)

    async def _fetch(self, fetch: fetches.SoundFetch) -> None:
        """Fetch a sound, store it as an upload, and put its job into the queue of generation."""
        upload_id = self._stored.new_id(fetch.owner)
        try:
            with hide_disk_errors(self._stored.scratch, _WORK):
                await self._download(fetch, upload_id)
                await self._store(fetch, upload_id)
            is_used = await fetches.finish(self._pool, self._app, fetch, upload_id)
        except BaseException:
            await self._discard(upload_id)
            raise
        if not is_used:
            await self._discard(upload_id)

    async def _download(self, fetch: fetches.SoundFetch, upload_id: str) -> None:
        """Write the sound to a part, until the job is cancelled or this worker stops."""
        self._stored.scratch.mkdir(parents=True, exist_ok=True)
        check_room(self._stored.scratch, 0, self._rules.reserve, _WORK)
        cancelled = threading.Event()
        self._stops.add(cancelled)
        if self._is_stopping:
            cancelled.set()
        part = self._stored.get_part(upload_id)
        arguments = (fetch.url, part, LIMITS, self._rules.networks, cancelled)
        running = asyncio.get_running_loop().run_in_executor(self._threads, download, *arguments)
        try:
            while not (await asyncio.wait({running}, timeout=REPORT_SECONDS))[0]:
                # Without a database the fetch goes on: only the database knows of a cancellation.
                with contextlib.suppress(*DISCONNECT_ERRORS):
                    if not await fetches.is_current(self._pool, fetch):
                        cancelled.set()
            running.result()
        finally:
            cancelled.set()
            await asyncio.wait({running})
            self._stops.discard(cancelled)

    async def _store(self, fetch: fetches.SoundFetch, upload_id: str) -> None:
        """Store a part as an upload of the job's owner."""
        size = self._stored.get_part(upload_id).stat().st_size
        owner, quota = fetch.owner, self._rules.quota
        # A lost database is no fault of the job.
        await uploads.reserve(self._pool, upload_id, owner, size, quota, seconds=math.inf)
        await asyncio.to_thread(self._stored.save, upload_id)

    async def _end(self, fetch: fetches.SoundFetch, error: Exception) -> None:
        """Fail a job, or move it to the remote queue after a failure of this machine."""
        if self._rules.remote_queue is not None and may_be_made_elsewhere(error):
            logger.warning("Job %s moves to the remote queue: %s", fetch.job_id, error)
            self._count(MOVED)
            await fetches.finish(self._pool, self._app, fetch, None, self._rules.remote_queue)
            return
        if isinstance(error, TooManyUploads):
            failure = {"code": error.code, "message": str(error)}
        else:
            failure = build_failure(error)
            if not isinstance(error, MusicGenError):
                logger.error("The fetch of job %s broke.", fetch.job_id, exc_info=error)
        is_refused = isinstance(error, (InvalidRequest, TooManyUploads))
        outcome = REFUSED if is_refused else FAILED
        self._count(outcome)
        await fetches.fail(self._pool, fetch, failure)
        logger.info("job ended job_id=%s outcome=%s", fetch.job_id, outcome.kind)

    def _count(self, outcome: JobOutcome) -> None:
        if self._metrics is not None:
            self._metrics.jobs.labels(outcome.kind).inc()

    async def _put_back(self, fetch: fetches.SoundFetch) -> None:
        """Queue a fetch again. While the database is away, recovery does it after the timeout."""
        try:
            work = fetches.put_back(self._pool, self._app, fetch)
            await asyncio.wait_for(work, _PUT_BACK_SECONDS)
        except (TimeoutError, *DISCONNECT_ERRORS):
            logger.warning("Job %s is left to recovery: no database.", fetch.job_id)

    async def _discard(self, upload_id: str) -> None:
        """Delete an upload that no job uses, its file first."""
        with contextlib.suppress(StorageError):
            await asyncio.to_thread(self._stored.delete, upload_id)
            await uploads.delete_row(self._pool, upload_id)
