"""What has to be done again and again, by whichever process comes first."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from handlers.job_api.store import queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import Files
from handlers.job_api.store.recovery import forget, recover
from musicgen.settings.job_api import ApiSettings

if TYPE_CHECKING:
    from procrastinate import App

FORGET_EVERY_SECONDS = 600.0
_GONE_SECONDS = 24 * 3600
_FORGET_WORKERS = "DELETE FROM musicgen_workers WHERE seen_at < now() - make_interval(secs => %s)"

logger = logging.getLogger(__name__)


async def maintain(
    pool: Pool,
    app: App,
    files: Files,
    settings: ApiSettings,
    orphans_to: str | None = None,
    count: Callable[[int], object] = lambda _: None,
) -> None:
    """Runs until it is cancelled; what fails is tried again the next time. `orphans_to`: the queue
    for jobs of lost workers, where it is another one than theirs. `count` is told how many such
    jobs were queued again."""
    forget_at = time.monotonic()
    while True:
        try:
            found = await recover(pool, app, settings.worker_timeout, settings.attempts, orphans_to)
            count(found.again)
            await queue_webhooks(pool, app)
            if time.monotonic() >= forget_at:
                forget_at = time.monotonic() + FORGET_EVERY_SECONDS
                await forget(pool, files.folder, settings.retention_hours, settings.upload_hours)
                await asyncio.to_thread(files.sweep)
                await query(pool, _FORGET_WORKERS, _GONE_SECONDS)
        except Exception:
            logger.warning("maintenance failed: again in a moment", exc_info=True)
        await asyncio.sleep(min(2.0, settings.worker_timeout / 3))


async def queue_webhooks(pool: Pool, app: App) -> None:
    """Those of jobs that have ended, each once."""
    async with pool.connection() as connection, connection.transaction():
        cursor = await connection.execute(
            "SELECT id FROM musicgen_jobs WHERE webhook_url IS NOT NULL AND NOT webhook_queued "
            "AND state IN ('completed', 'failed', 'cancelled') FOR UPDATE SKIP LOCKED LIMIT 100"
        )
        for row in await cursor.fetchall():
            await queue.put(
                app, connection, queue.WEBHOOK, queue.WEBHOOKS, job_id=row["id"], attempt=0
            )
            await connection.execute(
                "UPDATE musicgen_jobs SET webhook_queued = true WHERE id = %s", [row["id"]]
            )
