"""Reports of a run's progress to the database, two a second and after a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable

from handlers.job_api.store import jobs
from handlers.job_api.store.database import DISCONNECT_ERRORS, Pool
from handlers.progress_throttle import ProgressThrottle

REPORT_SECONDS = 0.5


class ProgressReporter:
    """Reporter of one run, to be used in `async with`.

    `cancelled`: set when the job may have been cancelled; the next report is made at once then.

    The music goes on while the database is away, and so does the run: only the database can say
    that the job is no longer this run's.
    """

    def __init__(
        self,
        pool: Pool,
        run: jobs.WorkerRun,
        clock: Callable[[], float] = time.monotonic,
        cancelled: asyncio.Event | None = None,
    ):
        self._pool = pool
        self._cancelled = cancelled or asyncio.Event()
        self._run = run
        self._clock = clock
        self._throttle = ProgressThrottle(-math.inf, REPORT_SECONDS, change=0.0)
        self._streams = False
        self._is_current = True
        self._report: asyncio.Task[bool] | None = None

    async def __aenter__(self) -> ProgressReporter:
        """Return this reporter."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give up a report on its way."""
        if self._report is not None:
            self._report.cancel()
            with contextlib.suppress(asyncio.CancelledError, *DISCONNECT_ERRORS):
                await self._report

    async def report(self, progress: float, *, streams: bool = False) -> bool:
        """Report progress from 0 to 1, and return False if the job is no longer this run's.

        `streams`: whether live audio is available; a change of it is reported at once.
        """
        now = self._clock()
        is_urgent = streams != self._streams or self._cancelled.is_set()
        if self._report is None and (self._throttle.is_due(progress, now) or is_urgent):
            self._cancelled.clear()
            self._throttle.record(progress, now)
            self._streams = streams
            self._report = asyncio.create_task(
                jobs.advance(self._pool, self._run, progress, streams=streams)
            )
            # Usually it takes milliseconds.
            await asyncio.wait({self._report}, timeout=REPORT_SECONDS)
        if self._report is not None and self._report.done():
            report, self._report = self._report, None
            with contextlib.suppress(*DISCONNECT_ERRORS):
                self._is_current = report.result()
        return self._is_current
