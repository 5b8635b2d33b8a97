"""Reports of a run's progress to the database, at most two a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from handlers.job_api.store import jobs
from handlers.job_api.store.database import Pool

REPORT_SECONDS = 0.5


class ProgressReporter:
    """Reporter of one run."""

    def __init__(
        self, pool: Pool, run: jobs.WorkerRun, clock: Callable[[], float] = time.monotonic
    ):
        self._pool = pool
        self._run = run
        self._clock = clock
        self._next = 0.0
        self._streams = False

    async def report(self, progress: float, *, streams: bool = False) -> bool:
        """Report progress from 0 to 1, and return False if the job is no longer this run's.

        `streams`: whether live audio is available; a change of it is reported at once.
        """
        now = self._clock()
        if now < self._next and streams == self._streams:
            return True
        self._next, self._streams = now + REPORT_SECONDS, streams
        return await jobs.advance(self._pool, self._run, progress, streams=streams)
