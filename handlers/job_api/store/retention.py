"""Deletion of expired jobs and uploads, with their files."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from musicgen.errors import StorageError

BATCH = 200

logger = logging.getLogger(__name__)


async def delete_expired(
    pool: Pool, files: JobFiles, retention_hours: float, upload_hours: float
) -> None:
    """Delete expired jobs and uploads, their files first.

    A row whose files cannot be deleted stays for the next time.
    """
    jobs = await _find(
        pool,
        "SELECT id FROM musicgen_jobs WHERE finished_at < now() - make_interval(secs => %s)",
        retention_hours,
    )
    if deleted := await _delete_files(jobs, files.delete_job):
        await query(pool, "DELETE FROM musicgen_jobs WHERE id = ANY(%s)", deleted)
    uploads = await _find(
        pool,
        "SELECT id FROM musicgen_uploads WHERE created_at < now() - make_interval(secs => %s)",
        upload_hours,
    )
    if deleted := await _delete_files(uploads, files.uploads.storage.delete):
        await query(pool, "DELETE FROM musicgen_uploads WHERE id = ANY(%s)", deleted)
    # Finished tasks without a job, such as those of webhooks.
    await query(
        pool,
        "DELETE FROM procrastinate_jobs p WHERE p.status IN ('succeeded', 'failed', 'cancelled', "
        "'aborted') AND NOT EXISTS (SELECT 1 FROM musicgen_jobs j WHERE j.queue_id = p.id)",
    )


async def delete_abandoned(pool: Pool, files: JobFiles, upload_hours: float) -> None:
    """Delete files that killed processes left. Raises: `StorageError`."""
    rows = await query(pool, "SELECT id, queue_id FROM musicgen_jobs WHERE state = 'running'")
    running = {f"{row['id']}-{row['queue_id']}" for row in rows}
    await asyncio.to_thread(files.delete_abandoned, running, upload_hours * 3600)


async def _find(pool: Pool, statement: str, hours: float) -> list[str]:
    rows = await query(pool, f"{statement} LIMIT {BATCH}", hours * 3600)
    return [row["id"] for row in rows]


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
