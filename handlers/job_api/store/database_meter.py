"""Figures of the database for the metrics: few queries, and never a long wait."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from handlers.job_api.store.database import Pool
from handlers.job_api.store.queue_load import QueueLoad, QueueLoadMeter

STATES = ("queued", "running", "completed", "failed", "cancelled")
DEADLINE_SECONDS = 1.5
"""Longest wait for the database; a scrape of Prometheus waits ten seconds by default."""
COUNT_SECONDS = 10.0
"""Lifetime of the counts by state: they read the whole table."""
_FAILURE_SECONDS = 1.0
_COUNT_STATES = "SELECT state, count(*) AS jobs FROM musicgen_jobs GROUP BY state"
_SPENT = "SELECT usd FROM musicgen_spent WHERE month = to_char(now() AT TIME ZONE 'utc', 'YYYY-MM')"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatabaseReading:
    """Figures at one moment. `states`: number of jobs in each of `STATES`."""

    load: QueueLoad
    states: Mapping[str, int]
    spent_usd: float


class DatabaseMeter:
    """Reader of the figures. Calls at the same time share one reading."""

    def __init__(self, pool: Pool, load: QueueLoadMeter) -> None:
        self._pool = pool
        self._load = load
        self._states: dict[str, int] = {}
        self._count_at = self._fail_until = 0.0
        self._running: asyncio.Task[DatabaseReading] | None = None

    async def read(self) -> DatabaseReading | None:
        """Return the figures, or None if the database does not answer in time."""
        if time.monotonic() < self._fail_until:
            return None
        if self._running is None:
            self._running = asyncio.create_task(self._read_in_time())
            self._running.add_done_callback(self._finish)
        try:
            return await asyncio.shield(self._running)
        except Exception as error:
            self._fail_until = time.monotonic() + _FAILURE_SECONDS
            logger.warning("The metrics lack the database (%s).", type(error).__name__)
            return None

    def _finish(self, _: asyncio.Task[DatabaseReading]) -> None:
        self._running = None

    async def _read_in_time(self) -> DatabaseReading:
        return await asyncio.wait_for(self._read(), DEADLINE_SECONDS)

    async def _read(self) -> DatabaseReading:
        load = await self._load.read()
        # Not by `query`: it repeats a statement for a minute.
        async with self._pool.connection() as connection:
            if time.monotonic() >= self._count_at:
                cursor = await connection.execute(_COUNT_STATES)
                counted = {row["state"]: row["jobs"] for row in await cursor.fetchall()}
                self._states = {state: counted.get(state, 0) for state in STATES}
                self._count_at = time.monotonic() + COUNT_SECONDS
            cursor = await connection.execute(_SPENT)
            row = await cursor.fetchone()
        return DatabaseReading(load, dict(self._states), float(row["usd"]) if row else 0.0)
