"""Notifications of changed jobs: one database connection listens for all waiting requests."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg

logger = logging.getLogger(__name__)

CHANNEL = "musicgen_jobs"
CANCELLED = "musicgen_cancelled"
"""Channel of cancelled jobs alone, for their workers: each progress of a job is a change too."""
_PAUSE_SECONDS = 0.5


class JobNotifications:
    """Events of changed jobs, or of the jobs of another `channel`.

    with notifications.subscribe(job_id) as changed:
        await changed.wait()
        changed.clear()
    """

    def __init__(self, url: str, channel: str = CHANNEL) -> None:
        self._url, self._channel = url, channel
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Listen to the database in a task, for the time of this context."""
        task = asyncio.create_task(self._listen(), name="job notifications")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @contextmanager
    def subscribe(self, job_id: str) -> Iterator[asyncio.Event]:
        """Yield an event, set at each change of the job."""
        changed = asyncio.Event()
        self._events[job_id].add(changed)
        try:
            yield changed
        finally:
            self._events[job_id].discard(changed)
            if not self._events[job_id]:
                del self._events[job_id]

    def wake_all(self) -> None:
        """Set the events of all jobs, because notifications may have been missed."""
        for events in self._events.values():
            for event in events:
                event.set()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {self._channel}".encode())
                    self.wake_all()
                    async for notification in connection.notifies():
                        for event in self._events.get(notification.payload, ()):
                            event.set()
            except psycopg.Error as error:
                logger.warning(
                    "Listening for changes of jobs failed (%s); connecting again.",
                    type(error).__name__,
                )
            await asyncio.sleep(_PAUSE_SECONDS)
