"""How far a job is, told to RunPod while it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import TracebackType

from musicgen.result import Progress

POST_EVERY_SECONDS = 1.0
POST_EVERY_FRACTION = 0.05
LAST_POST_SECONDS = 5.0
"""How long a result waits for a post that is still under way."""

Post = Callable[[str], Awaitable[None]]
"""Sends one update and returns when it has been answered."""

logger = logging.getLogger(__name__)


class ProgressPosts:
    """Posts of one job: seldom, one at a time, and all of them answered before it is left.

    RunPod takes updates and results at the same address: an update that arrives after the result
    would turn a finished job into one that is in progress for ever. `post` None posts nothing.
    """

    def __init__(self, post: Post | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._post = post
        self._clock = clock
        self._last_time = clock()
        self._last_fraction = 0.0
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
            # Of a job that was cancelled nothing is posted any more.
            if kind is None or not issubclass(kind, asyncio.CancelledError):
                await asyncio.wait([self._sending], timeout=LAST_POST_SECONDS)
        finally:
            self._sending.cancel()
        await asyncio.wait([self._sending])

    def tell(self, progress: Progress) -> None:
        """Posts `progress` when it is time for it; the last step is left to the result."""
        now = self._clock()
        if (
            self._post is None
            or progress.done == progress.total
            or now - self._last_time < POST_EVERY_SECONDS
            or progress.fraction - self._last_fraction < POST_EVERY_FRACTION
            or (self._sending is not None and not self._sending.done())
        ):
            return
        self._last_time, self._last_fraction = now, progress.fraction
        self._sending = asyncio.create_task(_sent(self._post, text_of(progress)))


def text_of(progress: Progress) -> str:
    """One line for a person: "45% (180/400 steps decoded)"."""
    percent = int(progress.fraction * 100)
    return f"{percent}% ({progress.done}/{progress.total} steps decoded)"


async def _sent(post: Post, text: str) -> None:
    try:
        await post(text)
    except Exception:
        # Progress is a courtesy: a job must not fail for it.
        logger.warning("an update could not be posted", exc_info=True)
