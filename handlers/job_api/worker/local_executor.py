"""Doing one job with a predictor: from the queue's row to clips, and what the job's row then says.

The sound of a job is also written while it is made, into a file that the API reads as it grows.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from handlers.contract import describe_error
from handlers.job_api.store import jobs
from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import Files
from handlers.job_api.worker.outcome import DROPPED, FAILED, MOVED, Outcome
from handlers.job_api.worker.progress import Teller
from handlers.serving import Serving
from musicgen.errors import InvalidRequest
from musicgen.process.tracing import span
from musicgen.remote.policy import may_be_made_elsewhere
from musicgen.request import StreamForm
from musicgen.result import GenerationResult, Progress

if TYPE_CHECKING:
    from procrastinate import App

LIVE_FORMATS = ("wav", "mp3", "ogg")
MADE_HERE = "local"
_OF_THE_WORKER = ("job_id", "start")

logger = logging.getLogger(__name__)


class LocalMaker:
    """Does jobs with `serving`, several at once where it has slots. What fails here and may be
    made `elsewhere` goes to that queue."""

    def __init__(
        self,
        serving: Serving,
        pool: Pool,
        app: App,
        files: Files,
        elsewhere: str | None = None,
    ) -> None:
        self._serving = serving
        self._pool = pool
        self._app = app
        self._elsewhere = elsewhere
        self._files = files

    async def do(self, run: jobs.Run) -> Outcome:
        """Ends the job, unless it turns out to be another run's by now.

        Raises: `MusicGenError` for what another machine may be able to do.
        """
        try:
            with span("musicgen.generate", expected=(InvalidRequest,)):
                result, first_audio = await self._made(run)
        except InvalidRequest as error:
            await jobs.fail(self._pool, run, failure_of(error))
            self._files.discard(run)
            return FAILED
        except Exception as error:
            self._files.discard(run)
            if self._elsewhere is None or not may_be_made_elsewhere(error):
                raise
            logger.warning("job %s goes elsewhere: %s", run.id, error)
            await jobs.move(self._pool, self._app, run, self._elsewhere)
            return MOVED
        except BaseException:
            self._files.discard(run)
            raise
        if result is None or not await jobs.complete(self._pool, run, told(result, MADE_HERE)):
            logger.info("job %s was cancelled or taken over: its clips are dropped", run.id)
            self._files.discard(run, result)
            return DROPPED
        audio = result.seconds * len(result.clips)
        return Outcome("completed", audio, result.real_time_factor, first_audio)

    async def _made(self, run: jobs.Run) -> tuple[GenerationResult | None, float | None]:
        """None where the job is not this run's any more; and the seconds to its first sound."""
        began, first_audio = time.monotonic(), None
        teller = Teller(self._pool, run)
        form: StreamForm | None = "joined" if _streams(run.request) else None
        with self._files.growing(run) as growing:
            fields = await asyncio.to_thread(self._files.with_upload, run.owner, run.request)
            async with self._serving.follow(fields, run.name, stream=form) as generation:
                async for progress in generation:
                    streams = _written(progress, growing)
                    if streams and first_audio is None:
                        first_audio = time.monotonic() - began
                    if not await teller.tell(progress.fraction, streams=streams):
                        return None, first_audio
                return await generation.result(), first_audio


def failure_of(error: BaseException) -> dict[str, Any]:
    """What a job's row says of an error: never more than its caller may know."""
    report = describe_error(error)
    failure = {"code": report.code, "message": report.text}
    if isinstance(error, InvalidRequest):
        failure["field"] = error.field
    return failure


def told(result: GenerationResult, made_by: str) -> dict[str, Any]:
    """What a job's row says of its result."""
    mapping = {**result.to_mapping(), "made_by": made_by}
    return {name: value for name, value in mapping.items() if name not in _OF_THE_WORKER}


def _streams(request: dict[str, Any]) -> bool:
    return request.get("output_format", "wav") in LIVE_FORMATS


def _written(progress: Progress, growing: dict[int, BinaryIO]) -> bool:
    """Whether there is anything to hear by now."""
    for index, piece in enumerate(progress.audio):
        if piece:
            growing[index].write(piece)
            growing[index].flush()
    return any(file.tell() for file in growing.values())
