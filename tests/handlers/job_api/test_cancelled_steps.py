"""A cancelled job takes one step more at most."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.notifications import CANCELLED, JobNotifications
from handlers.job_api.worker.progress import ProgressReporter

STEP_SECONDS = 0.01


def test_the_first_step_after_a_cancellation_is_the_last(
    database: str, with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any]
) -> None:
    """Reports are made twice a second, and steps fifty times."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        new = jobs.NewJob("me", {"prompt": "piano"}, "hash", 1.0)
        job_id = await jobs.submit(pool, app, new, jobs.JobLimits(9, 9), queue.LOCAL)
        rows = await query(pool, "SELECT queue_id FROM musicgen_jobs WHERE id = %s", job_id)
        run = await jobs.begin(pool, job_id, rows[0]["queue_id"], "worker")
        assert run is not None
        notifications = JobNotifications(database, CANCELLED)
        async with notifications.run():
            with notifications.subscribe(job_id) as cancelled:
                # The listener sets it once it is connected.
                await asyncio.wait_for(cancelled.wait(), 30)
                # A clock that stands still: the limit of reports is never over.
                reporter = ProgressReporter(pool, run, lambda: 0.0, cancelled)
                async with reporter:
                    for step in range(20):
                        assert await reporter.report(step / 100)
                        await asyncio.sleep(STEP_SECONDS)
                    assert not cancelled.is_set()
                    await jobs.cancel(pool, "me", job_id)
                    await asyncio.wait_for(cancelled.wait(), 30)
                    assert not await reporter.report(0.21)

    with_pool(work)
