"""Fetch stage of a job: its sound comes from a web address before the job waits for a slot.

The job stays `queued` meanwhile. Its queue_id is the id of the fetch task, so writes of an older
fetch change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query, retry_on_disconnect
from handlers.job_api.store.texts import to_jsonb

if TYPE_CHECKING:
    from procrastinate import App

_OF_THIS_FETCH = "id = %s AND queue_id = %s AND state = 'queued' AND fetches"
_ENDED = """
    SELECT u.id FROM musicgen_jobs j JOIN musicgen_uploads u ON u.id = j.fetched
    WHERE j.id = %s AND j.state NOT IN ('queued', 'running')
"""


@dataclass(frozen=True)
class SoundFetch:
    """Fetch of the sound of one job. `url`: the caller's own web address."""

    job_id: str
    queue_id: int
    owner: str
    url: str
    trace: str | None


async def begin(pool: Pool, job_id: str, queue_id: int, worker: str) -> SoundFetch | None:
    """Start a fetch, or return None if the job no longer waits for it."""
    rows = await query(
        pool,
        f"UPDATE musicgen_jobs SET maker = %s WHERE {_OF_THIS_FETCH} "
        "RETURNING owner, request->>'input_audio' AS url, trace",
        *(worker, job_id, queue_id),
        seconds=math.inf,
    )
    return SoundFetch(job_id, queue_id, **rows[0]) if rows else None


async def is_current(pool: Pool, fetch: SoundFetch) -> bool:
    """Return whether the job still waits for this fetch.

    Raises: psycopg's errors at once while the database is unavailable.
    """
    statement = f"SELECT id FROM musicgen_jobs WHERE {_OF_THIS_FETCH}"
    return bool(await query(pool, statement, fetch.job_id, fetch.queue_id, seconds=0))


async def finish(
    pool: Pool, app: App, fetch: SoundFetch, upload_id: str | None, to: str | None = None
) -> bool:
    """Put a job into its queue, or into `to`, and return whether it still waited for this fetch.

    `upload_id`: the upload with the sound, None if none was stored.
    """
    return await retry_on_disconnect(lambda: _finish(pool, app, fetch, upload_id, to), math.inf)


async def _finish(
    pool: Pool, app: App, fetch: SoundFetch, upload_id: str | None, to: str | None
) -> bool:
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            f"SELECT queue, priority FROM musicgen_jobs WHERE {_OF_THIS_FETCH} FOR UPDATE".encode(),
            [fetch.job_id, fetch.queue_id],
        )
        if (row := await cursor.fetchone()) is None:
            # The first attempt was committed if the job has this sound.
            cursor = await connection.execute(
                "SELECT id FROM musicgen_jobs WHERE id = %s AND fetched = %s",
                [fetch.job_id, upload_id],
            )
            return await cursor.fetchone() is not None
        queue_id = await queue.put(
            *(app, connection, queue.GENERATE, to or row["queue"]),
            priority=row["priority"],
            job_id=fetch.job_id,
        )
        await connection.execute(
            "UPDATE musicgen_jobs SET fetches = false, fetched = %s, queue = %s, queue_id = %s "
            "WHERE id = %s",
            [upload_id, to or row["queue"], queue_id, fetch.job_id],
        )
    return True


async def put_back(pool: Pool, app: App, fetch: SoundFetch) -> None:
    """Put a job back into the fetch stage, because its worker stops."""

    async def put() -> None:
        async with pool.connection() as connection, connection.transaction():
            cursor = await connection.execute(
                f"SELECT id FROM musicgen_jobs WHERE {_OF_THIS_FETCH} FOR UPDATE".encode(),
                [fetch.job_id, fetch.queue_id],
            )
            if await cursor.fetchone() is None:
                return
            queue_id = await queue.put_fetch(app, connection, fetch.job_id, fetch.owner)
            await connection.execute(
                "UPDATE musicgen_jobs SET queue_id = %s WHERE id = %s", [queue_id, fetch.job_id]
            )

    await retry_on_disconnect(put)


async def fail(pool: Pool, fetch: SoundFetch, error: Mapping[str, Any]) -> None:
    """Fail a job whose sound cannot be fetched."""
    await query(
        pool,
        "UPDATE musicgen_jobs SET state = 'failed', error = %s, progress = 1, fetches = false, "
        f"finished_at = now() WHERE {_OF_THIS_FETCH}",
        *(to_jsonb(error), fetch.job_id, fetch.queue_id),
        seconds=math.inf,
    )


async def find_sound_of_ended(pool: Pool, job_id: str) -> str | None:
    """Return the upload with the fetched sound of a job, if the job has ended."""
    rows = await query(pool, _ENDED, job_id, seconds=0)
    return str(rows[0]["id"]) if rows else None
