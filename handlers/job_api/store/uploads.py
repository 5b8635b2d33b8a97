"""Rows of uploads, with a quota for each owner.

The row exists before the file, so no file outlives its retention, whatever ends this process.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio

from handlers.job_api.errors import TooManyUploads
from handlers.job_api.store.database import Pool, query, retry_on_disconnect
from musicgen.settings.job_api import ApiSettings

MEGABYTE = 10**6
UPLOAD_PATIENCE = 10
"""An upload may take this many times longer than other bodies."""
_DELETE_SECONDS = 5.0


@dataclass(frozen=True)
class UploadQuota:
    """Limits of the stored uploads of one owner. `hours`: their lifetime."""

    number: int
    bytes: int
    hours: float

    @classmethod
    def from_settings(cls, settings: ApiSettings) -> UploadQuota:
        """Return the quota of the API's settings."""
        size = settings.upload_mb_per_key * MEGABYTE
        return cls(settings.uploads_per_key, size, settings.upload_hours)


async def reserve(
    pool: Pool,
    upload_id: str,
    owner: str,
    size: int,
    quota: UploadQuota,
    seconds: float | None = None,
) -> None:
    """Insert the row of a new upload of `size` bytes.

    `seconds`: longest wait for a database that is away, a minute by default. Raises:
    `TooManyUploads`.
    """
    await retry_on_disconnect(lambda: _reserve(pool, upload_id, owner, size, quota), seconds)


async def _reserve(pool: Pool, upload_id: str, owner: str, size: int, quota: UploadQuota) -> None:
    async with pool.connection() as connection, connection.transaction():
        # One upload of an owner at a time: the sums below stay true until the commit.
        lock = "SELECT pg_advisory_xact_lock(hashtext('uploads ' || %s))"
        await connection.execute(lock, [owner])
        cursor = await connection.execute(
            "SELECT count(*) AS number, coalesce(sum(bytes), 0)::bigint AS bytes, coalesce("
            "extract(epoch FROM min(created_at) + make_interval(secs => %s) - now()), 0)::float "
            "AS next_end FROM musicgen_uploads WHERE owner = %s AND id <> %s",
            [quota.hours * 3600, owner, upload_id],
        )
        used = await cursor.fetchone()
        assert used is not None, "a count has a row"
        if used["number"] >= quota.number or used["bytes"] + size > quota.bytes:
            wait = max(1, math.ceil(used["next_end"]))
            raise TooManyUploads(quota.number, quota.bytes, wait)
        await connection.execute(
            "INSERT INTO musicgen_uploads (id, owner, bytes) VALUES (%s, %s, %s) "
            "ON CONFLICT (id) DO NOTHING",
            [upload_id, owner, size],
        )


async def finish(pool: Pool, upload_id: str, size: int, *, is_inline: bool = False) -> bool:
    """Store that an upload is complete, and its size. Return False if it was deleted meanwhile.

    `is_inline`: the sound was inside the call of a job, and is deleted with the job.
    """
    rows = await query(
        pool,
        "UPDATE musicgen_uploads SET bytes = %s, is_inline = %s, stored = true WHERE id = %s "
        "RETURNING id",
        *(size, is_inline, upload_id),
    )
    return bool(rows)


async def list_uploads(
    pool: Pool, owner: str, limit: int, before: tuple[datetime, str] | None
) -> list[dict[str, Any]]:
    """Return a page of an owner's complete uploads, newest first.

    `before`: (created_at, id) of the last upload of the page before.
    """
    created, last = before if before else (None, None)
    return await query(
        pool,
        "SELECT id, bytes, created_at FROM musicgen_uploads WHERE owner = %s AND stored "
        "AND (%s::timestamptz IS NULL OR (created_at, id) < (%s::timestamptz, %s)) "
        "ORDER BY created_at DESC, id DESC LIMIT %s",
        *(owner, created, created, last, limit),
    )


async def delete_row(pool: Pool, upload_id: str) -> None:
    """Delete the row of a refused upload; without a database it stays until its retention ends."""
    # The refusal may be a cancellation, and must not wait for a database that is away.
    with anyio.CancelScope(shield=True), anyio.move_on_after(_DELETE_SECONDS), suppress(Exception):
        await query(pool, "DELETE FROM musicgen_uploads WHERE id = %s", upload_id)


async def list_ids(pool: Pool) -> set[str]:
    """Return the ids of all uploads."""
    return {row["id"] for row in await query(pool, "SELECT id FROM musicgen_uploads")}
