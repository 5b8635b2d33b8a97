"""Regular maintenance of jobs and files; any process may run it, also several at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from handlers.job_api.store.abilities import fail_unable
from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.life_lock import delete_old_locks
from handlers.job_api.store.recovery import recover, release_dead_workers
from handlers.job_api.store.retention import delete_abandoned, delete_expired
from handlers.job_api.store.uploads import UPLOAD_PATIENCE, list_ids
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from procrastinate import App

CLEANUP_SECONDS = 600.0

logger = logging.getLogger(__name__)


async def maintain(
    pool: Pool,
    app: App,
    files: JobFiles,
    settings: ApiSettings,
    orphans_to: str | None = None,
    count: Callable[[int], object] = lambda _: None,
) -> None:
    """Recover lost jobs and delete expired data, until cancelled.

    A failure is logged, and the next round tries again. `orphans_to`: the queue for jobs of lost
    workers, None for the queue they were in. `count`: called with the number of jobs requeued in
    each round.
    """
    cleanup_at = time.monotonic()
    while True:
        try:
            await release_dead_workers(pool, settings.data_dir)
            counts = await recover(
                pool, app, settings.worker_timeout, settings.attempts, orphans_to
            )
            count(counts.requeued)
            await fail_unable(pool)
            if time.monotonic() >= cleanup_at:
                cleanup_at = time.monotonic() + CLEANUP_SECONDS
                await asyncio.to_thread(delete_old_locks, settings.data_dir)
                await delete_expired(pool, files, settings.retention_hours, settings.upload_hours)
                await delete_abandoned(pool, files)
                await delete_abandoned_uploads(pool, files, settings)
        except Exception:
            logger.warning("Maintenance failed; the next round tries again.", exc_info=True)
        await asyncio.sleep(min(2.0, settings.worker_timeout / 3))


async def delete_abandoned_uploads(pool: Pool, files: JobFiles, settings: ApiSettings) -> None:
    """Delete parts of uploads of killed processes, and uploads of releases without their rows."""
    known = await list_ids(pool)
    # No transfer of a living process takes as long.
    seconds = 2 * UPLOAD_PATIENCE * settings.body_seconds
    hours = settings.upload_hours
    await asyncio.to_thread(files.uploads.delete_abandoned, known, seconds, hours * 3600)
