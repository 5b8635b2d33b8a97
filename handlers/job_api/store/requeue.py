"""Moves of a running job: to another queue, to a later time, or back into its own queue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, retry_on_disconnect
from handlers.job_api.store.jobs import OF_THIS_RUN, WorkerRun

if TYPE_CHECKING:
    from procrastinate import App

# Jobs from the remote queue, for example.
_IS_UNFETCHED = "fetched IS NULL AND request->>'input_audio' ~* '^https?://'"


async def move(pool: Pool, app: App, run: WorkerRun, to: str, *, seconds: int = 0) -> bool:
    """Move a running job to the queue `to`, to start there after `seconds`.

    A web address is fetched first if local workers serve the queue. Returns whether the job was
    still this run's.
    """
    return await retry_on_disconnect(lambda: _move(pool, app, run, to, seconds, 0), math.inf)


async def put_back(pool: Pool, app: App, run: WorkerRun) -> bool:
    """Put a running job back into its queue, because its worker stops.

    The run does not count as an attempt: it is not the job's fault. Returns whether the job was
    still this run's.
    """
    return await retry_on_disconnect(lambda: _move(pool, app, run, None, 0, 1))


async def _move(
    pool: Pool, app: App, run: WorkerRun, to: str | None, seconds: int, returned: int
) -> bool:
    """Move a running job to the queue `to`, or back to its own. `returned`: attempts taken back."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            f"SELECT queue, priority, owner, {_IS_UNFETCHED} AS is_unfetched FROM musicgen_jobs "
            f"WHERE {OF_THIS_RUN} FOR UPDATE".encode(),
            [run.id, run.queue_id],
        )
        row = await cursor.fetchone()
        if row is None:
            return False
        to = to or row["queue"]
        fetches = to == queue.LOCAL and bool(row["is_unfetched"])
        if fetches:
            queue_id = await queue.put_fetch(app, connection, run.id, row["owner"])
        else:
            queue_id = await queue.put(
                *(app, connection, queue.GENERATE, to),
                priority=row["priority"],
                seconds=seconds,
                job_id=run.id,
            )
        cursor = await connection.execute(
            "UPDATE musicgen_jobs SET state = 'queued', queue = %s, queue_id = %s, "
            "attempt = attempt - %s, streams = false, fetches = %s "
            f"WHERE {OF_THIS_RUN} RETURNING id".encode(),
            [to, queue_id, returned, fetches, run.id, run.queue_id],
        )
        return await cursor.fetchone() is not None
