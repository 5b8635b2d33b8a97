"""Deletion of jobs and uploads by their owner: the row at once, the files as soon as possible.

A row of `musicgen_deletions` takes the place of the deleted row until the files are gone. It stays
for a month, by which every machine finds its own copies.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from handlers.job_api.errors import UploadInUse
from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query, retry_on_disconnect
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.jobs import FINAL
from musicgen.errors import StorageError

BATCH = 20
PAUSE_SECONDS = 2.0
LEASE_SECONDS = 30.0
"""Pause before a failed deletion is repeated; longer than the deletion of a batch takes."""
COPY_SECONDS = 90.0
"""Time in which a copy of a deleted clip may still appear: longer than any conversion."""
KEPT_DAYS = 30

_DELETE_JOBS = """
    WITH gone AS (
        DELETE FROM musicgen_jobs WHERE owner = %(owner)s AND {condition}
        RETURNING id, owner, queue_id, fetched, request
    ), sounds AS (
        DELETE FROM musicgen_uploads u USING gone g
        WHERE u.id = g.fetched OR (
            u.is_inline AND u.owner = g.owner AND 'upload:' || u.id = g.request ->> 'input_audio'
            AND NOT EXISTS (SELECT FROM musicgen_jobs j WHERE j.owner = g.owner
                AND j.state IN ('queued', 'running')
                AND j.request ->> 'input_audio' = 'upload:' || u.id))
        RETURNING u.id, u.owner
    ), noted AS (
        INSERT INTO musicgen_deletions (kind, id, owner, queue_id)
        SELECT 'job', id, owner, queue_id FROM gone
        UNION ALL SELECT 'upload', id, owner, NULL FROM sounds
        ON CONFLICT DO NOTHING
    )
    SELECT pg_notify('musicgen_jobs', id) FROM gone
"""
_DELETE_UPLOADS = """
    WITH gone AS (
        DELETE FROM musicgen_uploads WHERE owner = %(owner)s AND {condition} RETURNING id, owner
    ), noted AS (
        INSERT INTO musicgen_deletions (kind, id, owner) SELECT 'upload', id, owner FROM gone
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM gone
"""
_USES = """
    SELECT id FROM musicgen_jobs WHERE owner = %(owner)s AND state IN ('queued', 'running')
    AND (request ->> 'input_audio' = 'upload:' || %(id)s OR fetched = %(id)s) LIMIT 1
"""
_LEASE = """
    UPDATE musicgen_deletions SET due_at = now() + make_interval(secs => %s)
    WHERE (kind, id) IN (SELECT kind, id FROM musicgen_deletions
        WHERE NOT is_done AND due_at <= now() ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)
    RETURNING kind, id
"""
# The worker of a deleted job may write files until its task in the queue ends.
_FINISH = """
    UPDATE musicgen_deletions d SET is_gone = true, is_done = NOT EXISTS (
        SELECT FROM procrastinate_jobs p WHERE p.id = d.queue_id AND p.status = 'doing')
    WHERE kind = %s AND id = %s
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DeletedCounts:
    """Number of the deleted jobs and uploads of an owner."""

    jobs: int
    uploads: int


async def delete_job(pool: Pool, owner: str, job_id: str) -> bool:
    """Delete the row of a finished job, and return whether files of it may be left."""
    condition = "id = %(id)s AND state = ANY(%(final)s)"
    values = {"owner": owner, "id": job_id, "final": list(FINAL)}
    await _run(pool, _DELETE_JOBS.format(condition=condition), values)
    return await _is_pending(pool, "job", owner, job_id)


async def delete_upload(pool: Pool, owner: str, upload_id: str) -> bool:
    """Delete the row of an upload, and return whether its file may be left.

    Raises: `UploadInUse` if an unfinished job needs it.
    """
    values = {"owner": owner, "id": upload_id}
    statement = _DELETE_UPLOADS.format(condition=f"id = %(id)s AND NOT EXISTS ({_USES})")
    if not await _run(pool, statement, values):
        stored = "SELECT id FROM musicgen_uploads WHERE owner = %s AND id = %s"
        users = await _run(pool, _USES, values)
        if users and await query(pool, stored, owner, upload_id):
            raise UploadInUse(users[0]["id"])
    return await _is_pending(pool, "upload", owner, upload_id)


async def delete_all(pool: Pool, owner: str) -> DeletedCounts:
    """Delete the rows of all jobs and uploads of an owner, and its turns; unfinished jobs end."""
    values = {"owner": owner}

    async def work() -> DeletedCounts:
        async with pool.connection() as connection, connection.transaction():
            # No submission of the owner is between its check of an upload and its job.
            await queue.lock_owner(connection, owner)
            await connection.execute("DELETE FROM musicgen_turns WHERE owner = %(owner)s", values)
            counts = [
                len(await (await connection.execute(statement.encode(), values)).fetchall())
                for statement in (
                    _DELETE_JOBS.format(condition="true"),
                    _DELETE_UPLOADS.format(condition="true"),
                )
            ]
        return DeletedCounts(*counts)

    return await retry_on_disconnect(work)


async def count_all(pool: Pool, owner: str) -> DeletedCounts:
    """Return what `delete_all` would delete now."""
    rows = await query(
        pool,
        "SELECT (SELECT count(*) FROM musicgen_jobs WHERE owner = %s)::int AS jobs, "
        "(SELECT count(*) FROM musicgen_uploads WHERE owner = %s)::int AS uploads",
        *(owner, owner),
    )
    return DeletedCounts(**rows[0])


async def delete_files(pool: Pool, files: JobFiles, kind: str, name: str) -> bool:
    """Delete the files of a deleted job or upload, and return whether that succeeded."""
    work = files.delete_job if kind == "job" else files.uploads.delete
    try:
        await asyncio.to_thread(work, name)
    except (StorageError, OSError) as error:
        logger.warning("Files of the deleted %s %s stay for now: %s", kind, name, error)
        return False
    await query(pool, _FINISH, kind, name)
    return True


async def finish_deletions(pool: Pool, files: JobFiles) -> None:
    """Delete files that are left of deleted rows, and this machine's copies, until cancelled."""
    since: datetime | None = None
    while True:
        try:
            since = await _discard_copies(pool, files, since)
            await finish_due(pool, files)
        except Exception:
            logger.warning("Deletions are not finished; trying again.", exc_info=True)
        await asyncio.sleep(PAUSE_SECONDS)


async def finish_due(pool: Pool, files: JobFiles) -> None:
    """Delete the files of all due deletions, until one fails."""
    while rows := await query(pool, _LEASE, LEASE_SECONDS, BATCH):
        for row in rows:
            if not await delete_files(pool, files, row["kind"], row["id"]):
                return
    old = "DELETE FROM musicgen_deletions WHERE is_done AND deleted_at < now() - make_interval("
    await query(pool, f"{old}days => %s)", KEPT_DAYS)


async def _discard_copies(pool: Pool, files: JobFiles, since: datetime | None) -> datetime:
    """Discard this machine's copies of jobs deleted after `since`, and return the next `since`."""
    rows = await query(
        pool,
        "SELECT now() - make_interval(secs => %s) AS next, "
        "array(SELECT id FROM musicgen_deletions WHERE kind = 'job' "
        "AND (%s::timestamptz IS NULL OR deleted_at > %s::timestamptz)) AS ids",
        *(COPY_SECONDS, since, since),
    )
    if rows[0]["ids"]:
        await asyncio.to_thread(files.discard_copies, frozenset(rows[0]["ids"]))
    moment: datetime = rows[0]["next"]
    return moment


async def _is_pending(pool: Pool, kind: str, owner: str, name: str) -> bool:
    rows = await query(
        pool,
        "SELECT id FROM musicgen_deletions "
        "WHERE kind = %s AND owner = %s AND id = %s AND NOT is_gone",
        *(kind, owner, name),
    )
    return bool(rows)


async def _run(pool: Pool, statement: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    async def execute() -> list[dict[str, Any]]:
        async with pool.connection() as connection:
            return await (await connection.execute(statement.encode(), values)).fetchall()

    return await retry_on_disconnect(execute)
