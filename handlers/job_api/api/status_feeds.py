"""Status of jobs for many listeners: one query for each change of a job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from handlers.job_api.store.notifications import JobNotifications

logger = logging.getLogger(__name__)

Status = dict[str, Any]
RECHECK_SECONDS = 15.0
"""Time after which a status is read all the same, because a notification may have been lost."""


@dataclass
class StatusFeed:
    """Status of one job. `current` is None until the first read; `is_over`: no change follows."""

    current: Status | None = None
    is_over: bool = False
    listeners: set[asyncio.Event] = field(default_factory=set)
    reader: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Wake all listeners."""
        for listener in self.listeners:
            listener.set()


class StatusFeeds:
    """Feeds of this process. `read`: returns the status of a job, or None if it was deleted."""

    def __init__(
        self, notifications: JobNotifications, read: Callable[[str], Awaitable[Status | None]]
    ) -> None:
        self._notifications, self._read = notifications, read
        self._feeds: dict[str, StatusFeed] = {}

    @asynccontextmanager
    async def follow(self, job_id: str) -> AsyncIterator[tuple[StatusFeed, asyncio.Event]]:
        """Yield the feed of a job, and an event set at each of its changes."""
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = StatusFeed()
            feed.reader = asyncio.create_task(self._follow(job_id, feed), name=f"feed {job_id}")
        changed = asyncio.Event()
        feed.listeners.add(changed)
        try:
            yield feed, changed
        finally:
            feed.listeners.discard(changed)
            if not feed.listeners:
                assert feed.reader is not None, "it was started with the feed"
                feed.reader.cancel()
                if self._feeds.get(job_id) is feed:
                    del self._feeds[job_id]

    def wake_all(self) -> None:
        """Wake the listeners of all jobs."""
        for feed in self._feeds.values():
            feed.wake()

    async def _follow(self, job_id: str, feed: StatusFeed) -> None:
        """Read the status at each change, for all listeners together."""
        try:
            with self._notifications.subscribe(job_id) as changed:
                while True:
                    changed.clear()
                    status = await self._read(job_id)
                    if status is None:
                        return
                    if status != feed.current:
                        feed.current = status
                        feed.wake()
                    try:
                        await asyncio.wait_for(changed.wait(), RECHECK_SECONDS)
                    except TimeoutError:
                        continue
        except Exception as error:
            logger.warning("Reading the status of job %s failed: %s", job_id, type(error).__name__)
        finally:
            # A new listener begins a new feed, also after an error of the database.
            feed.is_over = True
            if self._feeds.get(job_id) is feed:
                del self._feeds[job_id]
            feed.wake()
