"""Wait for a job on behalf of a call, and cancel it for a caller who leaves first.

A call without an idempotency key is the only one that knows its job: the job is cancelled when the
caller disconnects. With a key the same call can be sent again, so the job goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.requests import ClientDisconnect

from handlers.job_api.api.context import Context
from handlers.job_api.api.sound_errors import (
    JobCancelled,
    JobFailed,
    ServerStopping,
    WaitTimeout,
)
from handlers.job_api.errors import NotFound
from handlers.job_api.store import jobs

RETRY_SECONDS = 1.0
"""Pause before a status is followed again after an error of the database."""

logger = logging.getLogger(__name__)
_cancellations: set[asyncio.Task[None]] = set()

Status = dict[str, Any]


class AwaitedJob:
    """Job of a waiting call.

    `is_kept`: the job goes on without its caller.
    """

    def __init__(self, context: Context, owner: str, job_id: str, *, is_kept: bool) -> None:
        self._context, self._owner = context, owner
        self._end = time.monotonic() + context.settings.wait_seconds
        self._is_kept = is_kept
        self.id = job_id

    async def wait(self, request: Request, *, for_audio: bool = False) -> Status:
        """Return the status once the job is completed; `for_audio`: or has live audio.

        Raises: `JobFailed`, `JobCancelled`, `WaitTimeout`, `ServerStopping`, `NotFound` for a
        deleted job, `ClientDisconnect`.
        """
        async with _watch_caller(request) as gone:
            while (status := await self._follow(gone, for_audio)) is None:
                if await self._context.read_status(self.id) is None:
                    raise NotFound("The job has been deleted.")
                await asyncio.sleep(RETRY_SECONDS)
        if status["status"] == "failed":
            self._is_kept = True
            raise JobFailed(self.id, status["error"] or {})
        if status["status"] == "cancelled":
            self._is_kept = True
            raise JobCancelled(self.id)
        return status

    async def _follow(self, gone: asyncio.Task[None], for_audio: bool) -> Status | None:
        """Return the awaited status, or None if the feed ends before."""
        async with self._context.feeds.follow(self.id) as (feed, changed):
            while True:
                changed.clear()
                status = feed.current
                if status is not None and _is_awaited(status, for_audio):
                    return status
                if self._context.draining:
                    raise ServerStopping
                if feed.is_over:
                    return None
                left = self._end - time.monotonic()
                if left <= 0:
                    self._is_kept = True
                    raise WaitTimeout(self.id, self._context.settings.wait_seconds)
                await _wait_for_either(changed, gone, left)
                if gone.done():
                    raise ClientDisconnect

    def leave(self) -> None:
        """Cancel the job unless it is kept, without waiting for the database."""
        if self._is_kept:
            return
        self._is_kept = True
        task = asyncio.create_task(self._cancel(), name=f"cancel {self.id}")
        # The event loop keeps no strong reference to a task.
        _cancellations.add(task)
        task.add_done_callback(_cancellations.discard)

    async def _cancel(self) -> None:
        try:
            await jobs.cancel(self._context.pool, self._owner, self.id)
        except Exception as error:
            logger.warning("Job %s of a lost caller goes on: %s", self.id, type(error).__name__)

    @contextlib.contextmanager
    def leave_on_error(self) -> Any:
        """Leave the job if the block raises."""
        try:
            yield
        except BaseException:
            self.leave()
            raise

    async def follow_to_end(self, listening: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield live audio, and check at its end that the job is completed.

        Raises: `JobFailed`, `JobCancelled`. The caller then gets an incomplete answer.
        """
        with self.leave_on_error():
            async with contextlib.aclosing(listening):  # type: ignore[type-var]
                async for block in listening:
                    yield block
            await self._check_completed()

    async def _check_completed(self) -> None:
        """Wait for the end of a job whose live audio has ended."""
        async with self._context.feeds.follow(self.id) as (feed, changed):
            while not (feed.is_over or self._context.draining):
                changed.clear()
                if feed.current is not None and feed.current["status"] != "running":
                    break
                await changed.wait()
            status = feed.current or {}
        if status.get("status") == "completed":
            self._is_kept = True
            return
        if status.get("status") == "failed":
            raise JobFailed(self.id, status["error"] or {})
        # Its worker was lost: another one makes the sound again from the beginning.
        raise JobCancelled(self.id)


def _is_awaited(status: Status, for_audio: bool) -> bool:
    return status["status"] in jobs.FINAL or (for_audio and status["stream_url"] is not None)


async def _wait_for_either(
    changed: asyncio.Event, gone: asyncio.Task[None], seconds: float
) -> None:
    waiting = asyncio.create_task(changed.wait())
    try:
        await asyncio.wait({waiting, gone}, timeout=seconds, return_when="FIRST_COMPLETED")
    finally:
        waiting.cancel()


@asynccontextmanager
async def _watch_caller(request: Request) -> AsyncIterator[asyncio.Task[None]]:
    """Yield a task that ends when the caller disconnects. The body has to be read before."""
    task = asyncio.create_task(_read_to_disconnect(request), name="watch of a caller")
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _read_to_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
