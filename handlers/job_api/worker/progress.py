"""How far a job is, told to the database at most twice a second, and whether to go on."""

from __future__ import annotations

import time
from collections.abc import Callable

from handlers.job_api.store import jobs
from handlers.job_api.store.database import Pool

EVERY_SECONDS = 0.5


class Teller:
    """One run's. `tell` answers whether the job is still this run's."""

    def __init__(self, pool: Pool, run: jobs.Run, clock: Callable[[], float] = time.monotonic):
        self._pool = pool
        self._run = run
        self._clock = clock
        self._next = 0.0
        self._streams = False

    async def tell(self, progress: float, *, streams: bool = False) -> bool:
        now = self._clock()
        if now < self._next and streams == self._streams:
            return True
        self._next, self._streams = now + EVERY_SECONDS, streams
        return await jobs.advance(self._pool, self._run, progress, streams=streams)
