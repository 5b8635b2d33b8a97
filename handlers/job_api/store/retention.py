"""Deletion of expired jobs and uploads, with their files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from handlers.job_api.store import jobs
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from musicgen.errors import StorageError

BATCH = 200
_EXPIRED_JOBS = (
    "SELECT id FROM musicgen_jobs WHERE finished_at < now() - make_interval(secs => %s) "
    "AND NOT favourite"
)
# A queue may be longer than a day.
_EXPIRED_UPLOADS = (
    "SELECT id FROM musicgen_uploads u WHERE (created_at < now() - make_interval(secs => %s) "
    "OR EXISTS (SELECT FROM musicgen_jobs j WHERE j.fetched = u.id)) "
    "AND NOT EXISTS (SELECT FROM musicgen_jobs j WHERE j.state IN ('queued', 'running') "
    "AND j.owner = u.owner "
    "AND (j.request->>'input_audio' = 'upload:' || u.id OR j.fetched = u.id))"
)

logger = logging.getLogger(__name__)


async def delete_expired(
    pool: Pool, files: JobFiles, retention_hours: float, upload_hours: float
) -> None:
    """Delete expired jobs other than favourites, and expired uploads, their files first.

    A row whose files cannot be deleted stays for the next time.
    """
    await _delete_rows(pool, "musicgen_jobs", _EXPIRED_JOBS, retention_hours, files.delete_job)
    delete_upload = files.uploads.delete
    await _delete_rows(pool, "musicgen_uploads", _EXPIRED_UPLOADS, upload_hours, delete_upload)
    # Tasks of dead workers that no job is waiting for, then finished tasks without a job.
    await query(
        pool,
        "UPDATE procrastinate_jobs p SET status = 'failed' WHERE p.status = 'doing' "
        "AND NOT EXISTS (SELECT 1 FROM procrastinate_workers w WHERE w.id = p.worker_id) "
        "AND NOT EXISTS (SELECT 1 FROM musicgen_jobs j "
        "WHERE j.queue_id = p.id AND j.state IN ('queued', 'running'))",
    )
    await query(
        pool,
        "DELETE FROM procrastinate_jobs p WHERE p.status IN ('succeeded', 'failed', 'cancelled', "
        "'aborted') AND NOT EXISTS (SELECT 1 FROM musicgen_jobs j WHERE j.queue_id = p.id)",
    )


async def delete_abandoned(pool: Pool, files: JobFiles) -> None:
    """Delete files that killed processes left. Raises: `StorageError`."""
    rows = await query(pool, "SELECT id, queue_id FROM musicgen_jobs WHERE state = 'running'")
    running = {jobs.build_run_name(row["id"], row["queue_id"]) for row in rows}
    await asyncio.to_thread(files.delete_abandoned, running)


async def _delete_rows(
    pool: Pool, table: str, expired: str, hours: float, delete_files: Callable[[str], None]
) -> None:
    """Delete the rows of `table` that `expired` finds for a lifetime in hours, with their files."""
    while True:
        rows = await query(pool, f"{expired} LIMIT {BATCH}", hours * 3600)
        deleted = await _delete_files([row["id"] for row in rows], delete_files)
        await query(pool, f"DELETE FROM {table} WHERE id = ANY(%s)", deleted)
        if not rows or len(deleted) < len(rows):
            return


async def _delete_files(ids: list[str], delete: Callable[[str], None]) -> list[str]:
    """Delete the files of each id, and return the ids without files."""
    deleted = []
    for each in ids:
        try:
            await asyncio.to_thread(delete, each)
        except StorageError as error:
            logger.warning("Expired files of %s stay for now: %s", each, error)
            break
        deleted.append(each)
    return deleted
