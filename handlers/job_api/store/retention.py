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
    await _delete_rows(pool, "musicgen_jobs", "finished_at", retention_hours, files.delete_job)
    delete_upload = files.uploads.storage.delete
    await _delete_rows(pool, "musicgen_uploads", "created_at", upload_hours, delete_upload)
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


async def _delete_rows(
    pool: Pool, table: str, column: str, hours: float, delete_files: Callable[[str], None]
) -> None:
    """Delete the rows of `table` that are older than `hours` by `column`, with their files."""
    while True:
        rows = await query(
            pool,
            f"SELECT id FROM {table} WHERE {column} < now() - make_interval(secs => %s) "
            f"ORDER BY {column} LIMIT {BATCH}",
            hours * 3600,
        )
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
