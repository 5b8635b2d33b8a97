"""Running a job on this machine: from its row in the database to clips and the job's result.

Live audio is written while the clip is made, and the API reads it at the same time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from handlers.input_audio import FIELD
from handlers.job_api.errors import build_failure
from handlers.job_api.store import jobs, requeue
from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import JobFiles, count_clips
from handlers.job_api.store.notifications import JobNotifications
from handlers.job_api.store.paces import JobWork, record_work
from handlers.job_api.store.upload_files import UPLOAD, UploadFiles
from handlers.job_api.worker.audio_fetch import fetch_audio
from handlers.job_api.worker.outcome import DROPPED, MOVED, REFUSED, JobOutcome
from handlers.job_api.worker.progress import ProgressReporter
from handlers.serving import Serving
from musicgen.disk_errors import translate_full_disk
from musicgen.errors import InvalidRequest
from musicgen.process.tracing import span
from musicgen.remote.policy import may_be_made_elsewhere
from musicgen.request import StreamForm
from musicgen.result import GenerationResult

if TYPE_CHECKING:
    from procrastinate import App

LIVE_FORMATS = ("wav", "mp3", "ogg")
MADE_LOCALLY = "local"
_WORKER_FIELDS = ("job_id", "start")

logger = logging.getLogger(__name__)


class LocalExecutor:
    """Executor on this machine's models, for several jobs at once.

    `remote_queue`: the queue for jobs with a failure of this machine, None to fail them.
    `cancellations`: notifications of cancelled jobs, None to learn of them twice a second.
    """

    def __init__(
        self,
        serving: Serving,
        pool: Pool,
        app: App,
        files: JobFiles,
        remote_queue: str | None = None,
        cancellations: JobNotifications | None = None,
    ) -> None:
        self._serving = serving
        self._pool = pool
        self._app = app
        self._remote_queue = remote_queue
        self._files = files
        self._cancellations = cancellations

    async def execute(self, run: jobs.WorkerRun) -> JobOutcome:
        """Run a job to its end, unless it was cancelled or passed to another run.

        Raises: `MusicGenError` for a failure of this machine, without a remote queue.
        """
        is_loaded = self._serving.has_loaded(run.request.get("model_version"))
        began = time.monotonic()
        try:
            # Live sound is written too, and its file cannot be deleted from a read-only disk.
            with (
                span("musicgen.generate", expected=(InvalidRequest,)),
                translate_full_disk(self._files.folder),
            ):
                result, first_audio = await self._generate(run)
        except InvalidRequest as error:
            await jobs.fail(self._pool, run, build_failure(error))
            self._files.discard(run)
            return REFUSED
        except Exception as error:
            self._files.discard(run)
            if self._remote_queue is None or not may_be_made_elsewhere(error):
                raise
            logger.warning("Job %s failed here and moves to the remote queue: %s", run.id, error)
            await requeue.move(self._pool, self._app, run, self._remote_queue)
            return MOVED
        except BaseException:
            self._files.discard(run)
            raise
        if result is None or not await jobs.complete(self._pool, run, _build_result(result)):
            logger.info("Job %s was cancelled or taken over; its clips are deleted.", run.id)
            is_stored = result is not None
            await asyncio.to_thread(self._files.discard, run, is_stored=is_stored)
            return DROPPED
        if is_loaded:
            # The load of a model is no work of the next jobs.
            await self._record(run, time.monotonic() - began, result.timings.parts)
        audio = result.seconds * len(result.clips)
        return JobOutcome("completed", audio, result.real_time_factor, first_audio)

    async def _record(self, run: jobs.WorkerRun, seconds: float, parts: float) -> None:
        """Record the work of a job, for estimates. `parts`: seconds for the parts of its clips."""
        work = JobWork(run.needs, run.audio_seconds, max(0.0, seconds - parts), parts)
        await record_work(self._pool, work)

    async def _generate(self, run: jobs.WorkerRun) -> tuple[GenerationResult | None, float | None]:
        """Return the result and the seconds to the first audio.

        The result is None if the job is no longer this run's.
        """
        async with (
            self._open_reporter(run) as reporter,
            open_upload(self._files.uploads, run.owner, _replace_address(run)) as sent,
            fetch_audio(self._serving, sent, reporter) as fields,
        ):
            if fields is None:
                return None, None
            return await self._follow(run, fields, reporter)

    @asynccontextmanager
    async def _open_reporter(self, run: jobs.WorkerRun) -> AsyncIterator[ProgressReporter]:
        """Open the reporter of a run, told of its cancellation."""
        with ExitStack() as stack:
            cancelled = None
            if self._cancellations is not None:
                cancelled = stack.enter_context(self._cancellations.subscribe(run.id))
            async with ProgressReporter(self._pool, run, cancelled=cancelled) as reporter:
                yield reporter

    async def _follow(
        self, run: jobs.WorkerRun, fields: dict[str, Any], reporter: ProgressReporter
    ) -> tuple[GenerationResult | None, float | None]:
        began, first_audio = time.monotonic(), None
        form: StreamForm | None = "joined" if _can_stream(run.request) else None
        count = count_clips(run.request)
        async with (
            self._files.live.open(self._pool, run, count) as live,
            self._serving.follow(fields, run.name, stream=form) as generation,
        ):
            async for progress in generation:
                await live.write(progress.audio)
                if live.has_audio and first_audio is None:
                    first_audio = time.monotonic() - began
                if not await reporter.report(progress.fraction, streams=live.has_audio):
                    return None, first_audio
            await live.finish()
            return await generation.result(), first_audio


@asynccontextmanager
async def open_upload(
    uploads: UploadFiles, owner: str, request: Mapping[str, Any]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the fields of a request with its upload as a local file.

    Raises: `InvalidInputAudio`, `BucketUnavailable`, `BucketRefused`.
    """
    opened = uploads.open_request(owner, request)
    fields = await asyncio.to_thread(opened.__enter__)
    try:
        yield fields
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


def _build_result(result: GenerationResult) -> dict[str, Any]:
    """Return the result of a job's row, without fields about the worker process."""
    mapping = {**result.to_mapping(), "made_by": MADE_LOCALLY}
    return {name: value for name, value in mapping.items() if name not in _WORKER_FIELDS}


def _replace_address(run: jobs.WorkerRun) -> dict[str, Any]:
    """Return the request of a run with its fetched sound in place of the web address."""
    return run.request if run.fetched is None else {**run.request, FIELD: UPLOAD + run.fetched}


def _can_stream(request: dict[str, Any]) -> bool:
    return request.get("output_format", "wav") in LIVE_FORMATS
