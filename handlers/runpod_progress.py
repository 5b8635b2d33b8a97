"""Progress updates of a RunPod job while it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from handlers.progress_throttle import ProgressThrottle
from musicgen.errors.counts import format_count
from musicgen.result import Progress

LAST_POST_SECONDS = 5.0
"""Longest wait of a result for a post still under way."""

Post = Callable[[str], Awaitable[None]]
"""Sends one update and returns after RunPod has answered."""

logger = logging.getLogger(__name__)


class ProgressPosts:
    """Posts of one job: throttled, one at a time, and all answered before the context is left.

    RunPod takes updates and results at the same address: an update arriving after the result would
    put a finished job back in progress for ever. `post` None posts nothing.
    """

    def __init__(self, post: Post | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._post = post
        self._clock = clock
        self._throttle = ProgressThrottle(clock())
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ProgressPosts:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sending is None:
            return
        try:
            # A cancelled job posts nothing more.
            if kind is None or not issubclass(kind, asyncio.CancelledError):
                await asyncio.wait([self._sending], timeout=LAST_POST_SECONDS)
        finally:
            self._sending.cancel()
        await asyncio.wait([self._sending])

    def update(self, progress: Progress) -> None:
        """Post `progress` if a post is due. The last step is left to the result."""
        now = self._clock()
        if (
            self._post is None
            or progress.done == progress.total
            or not self._throttle.is_due(progress.fraction, now)
            or (self._sending is not None and not self._sending.done())
        ):
            return
        self._throttle.record(progress.fraction, now)
        self._sending = asyncio.create_task(_send(self._post, format_progress(progress)))


def format_progress(progress: Progress) -> str:
    """Return one line for a person: "45% (180/400 steps decoded)"."""
    percent = int(progress.fraction * 100)
    return f"{percent}% ({progress.done}/{format_count(progress.total, 'step')} decoded)"


async def _send(post: Post, text: str) -> None:
    try:
        await post(text)
    except Exception:
        # A job must not fail because of a progress update.
        logger.warning("a progress update could not be posted", exc_info=True)
