"""Doing one job elsewhere: on a platform, or on a deployment of ours."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import Files, clips_of
from handlers.job_api.worker.local_executor import failure_of
from handlers.job_api.worker.outcome import DROPPED, FAILED, MOVED, Outcome
from handlers.job_api.worker.progress import EVERY_SECONDS, Teller
from musicgen.errors import InvalidRequest, RemoteError
from musicgen.process.tracing import span
from musicgen.remote.errors import Refused
from musicgen.remote.generate import Made
from musicgen.remote.guarded import Hybrid, RemoteUnavailable
from musicgen.storage.base import ClipFile, ClipName, Storage

if TYPE_CHECKING:
    from procrastinate import App

AGAIN_SECONDS = 5
FAILED_ELSEWHERE = "it could not be made elsewhere either; the operator's log has the reason"

logger = logging.getLogger(__name__)


class RelayMaker:
    """Has jobs done by `hybrid`. What cannot be done there goes `back` to the queue of this
    machine's own workers, where that is given; what nobody may do now waits and is tried again, up
    to `attempts` times."""

    def __init__(
        self,
        hybrid: Hybrid,
        pool: Pool,
        app: App,
        files: Files,
        storage: Storage,
        attempts: int,
        back: str | None = None,
    ) -> None:
        self._hybrid = hybrid
        self._pool = pool
        self._app = app
        self._files = files
        self._storage = storage
        self._attempts = attempts
        self._back = back

    async def do(self, run: jobs.Run) -> Outcome:
        """Ends the job, or moves it."""
        try:
            with span("musicgen.elsewhere", expected=(InvalidRequest,)):
                made = await self._made(run)
        except InvalidRequest as error:
            await jobs.fail(self._pool, run, failure_of(error))
            return FAILED
        except RemoteError as error:
            return await self._not_made(run, error)
        if made is None or not await self._complete(run, made):
            logger.info("job %s was cancelled or taken over: its clips are dropped", run.id)
            self._files.discard(run)
            return DROPPED
        return Outcome("completed", sum(clip.seconds or 0.0 for clip in made.clips))

    async def _made(self, run: jobs.Run) -> Made | None:
        """None where the job is not this run's any more."""
        teller, cancelled, fraction = Teller(self._pool, run), threading.Event(), [0.0]

        def tell(done: float | None, _line: str) -> None:
            fraction[0] = fraction[0] if done is None else done

        fields = self._files.with_upload(run.owner, run.request)
        making = asyncio.create_task(
            asyncio.to_thread(self._hybrid.make, fields, tell=tell, cancelled=cancelled)
        )
        is_mine = True
        try:
            while not making.done():
                await asyncio.wait([making], timeout=EVERY_SECONDS)
                if not making.done() and not await teller.tell(fraction[0]):
                    is_mine = False
                    break
        finally:
            # Also when this worker stops: what runs elsewhere costs money until it is told.
            cancelled.set()
            await asyncio.wait([making])
        if is_mine:
            return making.result()
        making.exception()
        return None

    async def _not_made(self, run: jobs.Run, error: RemoteError) -> Outcome:
        is_unavailable = isinstance(error, RemoteUnavailable)
        of_the_request = isinstance(error, Refused) and error.of_the_request
        logger.warning("job %s was not made elsewhere: %s", run.id, error)
        if self._back is not None and (is_unavailable or of_the_request):
            await jobs.move(self._pool, self._app, run, self._back)
        elif (pause := _pause(error)) is not None and run.attempt < self._attempts:
            await jobs.move(self._pool, self._app, run, queue.REMOTE, seconds=pause)
        else:
            told = str(error) if of_the_request else FAILED_ELSEWHERE
            await jobs.fail(self._pool, run, {"code": error.code, "message": told})
            return FAILED
        return MOVED

    async def _complete(self, run: jobs.Run, made: Made) -> bool:
        count = clips_of(run.request)
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
        return await jobs.complete(self._pool, run, _told(run.request, made, addresses))


def _pause(error: RemoteError) -> int | None:
    """Seconds after which the other side asked to be tried again; None where it did not."""
    if isinstance(error, RemoteUnavailable) and error.retry_after is not None:
        return max(AGAIN_SECONDS, round(error.retry_after))
    return None


def _told(request: Mapping[str, Any], made: Made, addresses: list[str]) -> dict[str, Any]:
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
