"""Who waits for news of a job: one connection listens for all of them."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import psycopg

logger = logging.getLogger(__name__)

CHANNEL = "musicgen_jobs"
_PAUSE_SECONDS = 0.5


class News:
    """`with news.of(job_id) as changed:` and then `await changed.wait()`, `changed.clear()`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._listen(), name="job news")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @contextmanager
    def of(self, job_id: str) -> Iterator[asyncio.Event]:
        changed = asyncio.Event()
        self._waiting[job_id].add(changed)
        try:
            yield changed
        finally:
            self._waiting[job_id].discard(changed)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    def wake_all(self) -> None:
        """What was told while nobody listened is lost: everybody looks for themselves."""
        for events in self._waiting.values():
            for event in events:
                event.set()

    async def _listen(self) -> None:
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    self.wake_all()
                    async for note in connection.notifies():
                        for event in self._waiting.get(note.payload, ()):
                            event.set()
            except psycopg.Error as error:
                logger.warning("news of jobs are interrupted: %s", type(error).__name__)
            await asyncio.sleep(_PAUSE_SECONDS)
