"""Running a job remotely: on a platform, or on another deployment of this project."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from handlers.job_api.errors import build_failure
from handlers.job_api.store import jobs, queue, requeue
from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import JobFiles, count_clips
from handlers.job_api.store.paces import JobWork, record_work
from handlers.job_api.worker.local_executor import open_upload
from handlers.job_api.worker.outcome import DROPPED, FAILED, MOVED, REFUSED, JobOutcome
from handlers.job_api.worker.progress import REPORT_SECONDS, ProgressReporter
from musicgen.errors import InvalidRequest, RemoteError
from musicgen.process.tracing import span
from musicgen.remote.errors import RemoteRefusal
from musicgen.remote.generate import RemoteResult
from musicgen.remote.guarded import GuardedDeployment, RemoteUnavailable
from musicgen.storage.base import ClipFile, ClipName, Storage

if TYPE_CHECKING:
    from procrastinate import App

RETRY_MIN_SECONDS = 5
FAILED_REMOTELY = "The remote platform could not make this job. The server's log has the reason."

logger = logging.getLogger(__name__)


class RemoteExecutor:
    """Executor on remote platforms, through `hybrid`.

    `local_queue`: the queue of local workers, None to stay remote. A job goes there if the platform
    refuses the request or cannot be asked at present. Otherwise the job is tried again after a
    pause if the error gives one, up to `attempts` times, and then fails.
    """

    def __init__(
        self,
        hybrid: GuardedDeployment,
        pool: Pool,
        app: App,
        files: JobFiles,
        storage: Storage,
        attempts: int,
        local_queue: str | None = None,
    ) -> None:
        self._hybrid = hybrid
        self._pool = pool
        self._app = app
        self._files = files
        self._storage = storage
        self._attempts = attempts
        self._local_queue = local_queue

    async def execute(self, run: jobs.WorkerRun) -> JobOutcome:
        """Run a job to its end, or move it to a queue."""
        began = time.monotonic()
        try:
            with span("musicgen.elsewhere", expected=(InvalidRequest,)):
                made = await self._generate(run)
        except InvalidRequest as error:
            await jobs.fail(self._pool, run, build_failure(error))
            return REFUSED
        except RemoteError as error:
            return await self._handle_failure(run, error)
        if made is None or not await self._complete(run, made):
            logger.info("Job %s was cancelled or taken over; its clips are deleted.", run.id)
            return DROPPED
        took = time.monotonic() - began
        await record_work(self._pool, JobWork(run.needs, run.audio_seconds, took, is_remote=True))
        return JobOutcome("completed", sum(clip.seconds or 0.0 for clip in made.clips))

    async def _generate(self, run: jobs.WorkerRun) -> RemoteResult | None:
        """Return the remote clips, or None if the job is no longer this run's."""
        async with open_upload(self._files.uploads, run.owner, run.request) as fields:
            return await self._generate_from(run, fields)

    async def _generate_from(
        self, run: jobs.WorkerRun, fields: Mapping[str, Any]
    ) -> RemoteResult | None:
        cancelled, fraction = threading.Event(), [0.0]

        def update(done: float | None, _line: str) -> None:
            fraction[0] = fraction[0] if done is None else done

        remote_job = asyncio.create_task(
            asyncio.to_thread(
                self._hybrid.generate, fields, on_progress=update, cancelled=cancelled
            )
        )
        is_current = True
        try:
            async with ProgressReporter(self._pool, run) as reporter:
                while is_current and not remote_job.done():
                    await asyncio.wait([remote_job], timeout=REPORT_SECONDS)
                    is_current = remote_job.done() or await reporter.report(fraction[0])
        finally:
            # Also when this worker stops: a remote job costs money until it is cancelled.
            cancelled.set()
            await asyncio.wait([remote_job])
        if is_current:
            return remote_job.result()
        remote_job.exception()
        return None

    async def _handle_failure(self, run: jobs.WorkerRun, error: RemoteError) -> JobOutcome:
        """Move a failed job to the local queue or to a later time, or fail it."""
        is_unavailable = isinstance(error, RemoteUnavailable)
        is_refused = isinstance(error, RemoteRefusal) and error.is_request_fault
        logger.warning("Job %s could not be made remotely: %s", run.id, error)
        if self._local_queue is not None and (is_unavailable or is_refused):
            await requeue.move(self._pool, self._app, run, self._local_queue)
        elif (pause := _get_retry_pause(error)) is not None and run.attempt < self._attempts:
            await requeue.move(self._pool, self._app, run, queue.REMOTE, seconds=pause)
        else:
            message = str(error) if is_refused else FAILED_REMOTELY
            await jobs.fail(self._pool, run, {"code": error.code, "message": message})
            return REFUSED if is_refused else FAILED
        return MOVED

    async def _complete(self, run: jobs.WorkerRun, made: RemoteResult) -> bool:
        count = count_clips(run.request)
        clips = made.clips[:count]
        stored = [
            ClipFile(
                ClipName(run.name, index, len(clips), clip.extension),
                [clip.data],
                clip.content_type,
            )
            for index, clip in enumerate(clips)
        ]
        addresses = await asyncio.to_thread(self._storage.put_all, stored)
        result = _build_result(run.request, made, addresses)
        if await jobs.complete(self._pool, run, result):
            return True
        await asyncio.to_thread(self._files.discard, run, is_stored=True)
        return False


def _get_retry_pause(error: RemoteError) -> int | None:
    """Return the seconds before the next attempt, or None if no later attempt can help."""
    if isinstance(error, RemoteUnavailable) and error.retry_after is not None:
        return max(RETRY_MIN_SECONDS, round(error.retry_after))
    return None


def _build_result(
    request: Mapping[str, Any], made: RemoteResult, addresses: list[str]
) -> dict[str, Any]:
    clips = [
        {
            "address": address,
            "prompt": clip.prompt or request.get("prompt"),
            "seed": clip.seed,
            "seconds": clip.seconds,
            "content_type": clip.content_type,
            "bytes": len(clip.data),
            "sha256": hashlib.sha256(clip.data).hexdigest(),
        }
        for address, clip in zip(addresses, made.clips, strict=False)
    ]
    first = made.clips[0]
    return {
        "seed": first.seed,
        "seconds": first.seconds,
        "model": first.model,
        "licence": first.licence,
        "made_by": made.made_by,
        "cost_usd": made.cost_usd,
        "compute_seconds": made.compute_seconds,
        "notes": [],
        "clips": clips,
    }
