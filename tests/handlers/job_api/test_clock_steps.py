"""A database's clock that is set back or forward by an hour, as stored times that are moved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from procrastinate import utils

from handlers.job_api.store import (
    api_keys,
    deletions,
    history,
    jobs,
    queue,
    recovery,
    requeue,
    webhook_deliveries,
)
from handlers.job_api.store.clock import TOLERANCE_SECONDS
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.queue_load import QueueLoad, QueueLoadMeter
from handlers.job_api.store.status import build_status
from handlers.job_api.worker.queue_loop import QueueLoop

LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]
HOUR = 3600.0
TIMEOUT, ATTEMPTS = 15.0, 3
LOST, NONE = recovery.RecoveryCounts(1, 0), recovery.RecoveryCounts(0, 0)
STORED_TIMES = {
    "musicgen_workers": ("seen_at",),
    "procrastinate_workers": ("last_heartbeat",),
    "musicgen_jobs": ("created_at", "started_at", "finished_at", "webhook_at", "unable_since"),
    "musicgen_uploads": ("created_at",),
    "musicgen_keys": ("created_at",),
    "procrastinate_jobs": ("scheduled_at",),
    "musicgen_deletions": ("due_at",),
    "musicgen_recovery": ("round_at", "trusts_from"),
}


async def _move_times(pool: Pool, seconds: float) -> None:
    """Move all stored times, as if the clock were set back by `seconds`."""
    for table, columns in STORED_TIMES.items():
        moves = ", ".join(f"{name} = {name} + make_interval(secs => {seconds})" for name in columns)
        await query(pool, f"UPDATE {table} SET {moves}")


async def _recover(pool: Pool, app: Any) -> recovery.RecoveryCounts:
    return await recovery.recover(pool, app, TIMEOUT, ATTEMPTS)


async def _run_job(pool: Pool, app: Any, webhook_url: str | None = None) -> jobs.WorkerRun:
    """Start a job on the worker w, which lives."""
    new = jobs.NewJob("one", {"prompt": "x"}, "h", 5.0, webhook_url=webhook_url)
    job_id = await jobs.submit(pool, app, new, LIMITS, queue.LOCAL)
    row = await jobs.get(pool, job_id)
    assert row is not None
    worker = await query(pool, "INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id")
    started = "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = %s"
    await query(pool, started, worker[0]["id"], row["queue_id"])
    await query(
        pool,
        "INSERT INTO musicgen_workers (name, slots, makes, models) "
        "VALUES ('w', 1, 'local', '{demo}') ON CONFLICT DO NOTHING",
    )
    run = await jobs.begin(pool, job_id, row["queue_id"], "w")
    assert run is not None
    return run


async def _measure(pool: Pool, table: str, column: str) -> list[float]:
    """Return how far a stored time of each row lies ahead, in seconds."""
    rows = await query(
        pool, f"SELECT extract(epoch FROM {column} - now())::float AS n FROM {table}"
    )
    return [row["n"] for row in rows]


def test_a_worker_that_dies_after_the_step_is_lost_in_time(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        run = await _run_job(pool, app)
        assert await _recover(pool, app) == NONE
        await _move_times(pool, HOUR)
        # The step alone makes nobody lost: the living had no time for a heartbeat.
        assert await _recover(pool, app) == NONE
        assert (await QueueLoadMeter(pool).read()).workers == 1
        await query(
            pool,
            "UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - '20s'::interval",
        )
        assert await _recover(pool, app) == NONE, "its own row is young"
        await query(pool, "UPDATE musicgen_workers SET seen_at = seen_at - '20s'::interval")
        assert (await QueueLoadMeter(pool).read()).workers == 0
        assert await _recover(pool, app) == LOST
        assert not await jobs.advance(pool, run, 0.5, streams=False)

    with_pool(work)


def test_nobody_is_gone_by_a_step_forward(with_pool: WithPool) -> None:
    """A worker without its row in the queue could not claim a job any more."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        run = await _run_job(pool, app)
        assert await _recover(pool, app) == NONE
        await _move_times(pool, -HOUR)
        for _ in range(2):
            assert await _recover(pool, app) == NONE
        assert len(await _measure(pool, "musicgen_workers", "seen_at")) == 1
        assert len(await _measure(pool, "procrastinate_workers", "last_heartbeat")) == 1
        assert await jobs.advance(pool, run, 0.5, streams=False)
        # Without a heartbeat for the whole timeout, it is gone.
        await query(pool, "UPDATE musicgen_recovery SET trusts_from = now()")
        assert await _recover(pool, app) == LOST
        assert await _measure(pool, "musicgen_workers", "seen_at") == []
        assert await _measure(pool, "procrastinate_workers", "last_heartbeat") == []

    with_pool(work)


def test_a_starting_worker_removes_nobody(with_pool: WithPool) -> None:
    """procrastinate itself deletes the rows of workers that were silent for half a minute."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        await _run_job(pool, app)
        await _move_times(pool, -HOUR)
        stopping = asyncio.Event()
        loop = QueueLoop(app, "starting", stopping, asyncio.Event())
        task = asyncio.create_task(loop.serve(queue.LOCAL, 1))
        while max(await _measure(pool, "procrastinate_workers", "last_heartbeat")) < -HOUR / 2:
            await asyncio.sleep(0.05)
        ahead = await _measure(pool, "procrastinate_workers", "last_heartbeat")
        stopping.set()
        await task
        assert min(ahead) < -HOUR / 2, "the other one is still there"

    with_pool(work)


def test_silence_counts_again_after_its_time(with_pool: WithPool) -> None:
    """The clock is set back within the time in which no silence counts."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        await _run_job(pool, app)
        await _recover(pool, app)
        await _move_times(pool, -60)
        assert await _recover(pool, app) == NONE, "the database was away"
        (left,) = await _measure(pool, "musicgen_recovery", "trusts_from")
        assert 0 < left <= TIMEOUT
        await _move_times(pool, HOUR)
        await _recover(pool, app)
        (left,) = await _measure(pool, "musicgen_recovery", "trusts_from")
        assert left <= TIMEOUT

    with_pool(work)


def test_waits_keep_their_length(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        url = "https://example.com/hook"
        later, due = [await _run_job(pool, app, url) for _ in range(2)]
        moved, deleted = [await _run_job(pool, app) for _ in range(2)]
        for run in (later, due, deleted):
            await jobs.complete(pool, run, {"clips": []})
        pause = "UPDATE musicgen_jobs SET webhook_at = now() + '600s'::interval WHERE id = %s"
        await query(pool, pause, later.id)
        await requeue.move(pool, app, moved, queue.REMOTE, seconds=300)
        await deletions.delete_job(pool, "one", deleted.id)
        await _recover(pool, app)
        await _move_times(pool, HOUR)
        assert await webhook_deliveries.lease_due(pool, 9) == []
        await _recover(pool, app)
        assert [lease.job_id for lease in await webhook_deliveries.lease_due(pool, 9)] == [due.id]
        (left,) = await _measure(pool, f"musicgen_jobs WHERE id = '{later.id}'", "webhook_at")
        assert left == pytest.approx(600, abs=TOLERANCE_SECONDS)
        tasks = "procrastinate_jobs WHERE scheduled_at IS NOT NULL"
        (left,) = await _measure(pool, tasks, "scheduled_at")
        assert left == pytest.approx(300, abs=TOLERANCE_SECONDS)
        (left,) = await _measure(pool, "musicgen_deletions", "due_at")
        assert left <= 0
        # Once is enough: the next round finds no step, and moves nothing.
        await _recover(pool, app)
        (left,) = await _measure(pool, tasks, "scheduled_at")
        assert left == pytest.approx(300, abs=TOLERANCE_SECONDS)

    with_pool(work)


@pytest.mark.parametrize(("step", "ahead"), [(HOUR, 0), (20, 20)])
def test_leases_and_small_steps_stay(with_pool: WithPool, step: float, ahead: float) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        await _run_job(pool, app)
        await _recover(pool, app)
        await _move_times(pool, step)
        run = await _run_job(pool, app, "https://example.com/hook")
        await jobs.complete(pool, run, {"clips": []})
        (lease,) = await webhook_deliveries.lease_due(pool, 9)
        await _recover(pool, app)
        row = await jobs.get(pool, run.id)
        assert row is not None and row["webhook_at"] == lease.until
        (seen,) = await _measure(pool, "musicgen_workers", "seen_at")
        assert seen == pytest.approx(ahead, abs=10)

    with_pool(work)


def test_a_running_job_tells_its_time_by_the_clock_of_its_start(with_pool: WithPool) -> None:
    """The clock of the API was read before, which is another machine's."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        run = await _run_job(pool, app)
        await jobs.advance(pool, run, 0.5, streams=False)
        await _recover(pool, app)
        age = "UPDATE musicgen_jobs SET created_at = created_at - '60s'::interval, "
        await query(pool, age + "started_at = started_at - '40s'::interval")
        assert await _estimate(pool, run) == pytest.approx(40, abs=10)
        await _move_times(pool, HOUR)
        assert await _estimate(pool, run) == 0, "no negative time"
        await _recover(pool, app)
        assert await _estimate(pool, run) == pytest.approx(40, abs=10)
        ages = [
            await _measure(pool, "musicgen_jobs", name) for name in ("created_at", "started_at")
        ]
        assert ages[0] < ages[1] < [0.0]

    with_pool(work)


async def _estimate(pool: Pool, run: jobs.WorkerRun) -> Any:
    row = await jobs.get(pool, run.id)
    assert row is not None
    load = QueueLoad(workers=1, slots=1, queued=0, running=1, waiting=0)
    return build_status(row, load)["expected_seconds"]


def test_a_delay_is_of_the_databases_clock(
    with_pool: WithPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a worker whose clock is an hour ahead, the job would wait for that hour too."""
    now = utils.utcnow
    monkeypatch.setattr(utils, "utcnow", lambda: now() + utils.datetime.timedelta(seconds=HOUR))

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        run = await _run_job(pool, app)
        await requeue.move(pool, app, run, queue.REMOTE, seconds=300)
        tasks = "procrastinate_jobs WHERE scheduled_at IS NOT NULL"
        (left,) = await _measure(pool, tasks, "scheduled_at")
        assert left == pytest.approx(300, abs=TOLERANCE_SECONDS)

    with_pool(work)


def test_what_is_made_after_the_step_is_the_newest(with_pool: WithPool) -> None:
    """For an hour, finished jobs stood above each new one, and above its page."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        before = [await _run_job(pool, app) for _ in range(3)]
        for run in before[:2]:
            await jobs.complete(pool, run, {"clips": []})
        await _recover(pool, app)
        await _move_times(pool, HOUR)
        after = await _run_job(pool, app)
        await _recover(pool, app)
        newest = [run.id for run in (after, *reversed(before))]
        page = await history.list_jobs(pool, "one", 2, None)
        assert [row["id"] for row in page] == newest[:2]
        last = (page[-1]["created_at"], page[-1]["id"])
        rest = await history.list_jobs(pool, "one", 9, last)
        assert [row["id"] for row in rest] == newest[2:]
        for row in (page[1], *rest):
            assert row["created_at"] <= row["started_at"]
        for row in rest[-2:]:
            assert row["started_at"] <= row["finished_at"] <= page[0]["created_at"]

    with_pool(work)


def test_uploads_and_keys_are_no_newer_than_later_ones(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        insert = "INSERT INTO musicgen_uploads (id, owner, bytes) VALUES (%s, 'one', 1)"
        await _recover(pool, app)
        for name in ("before", "after"):
            await query(pool, insert, name)
            await api_keys.create(pool, name, frozenset({"generate"}), None)
            if name == "before":
                await _move_times(pool, HOUR)
        await _recover(pool, app)
        for table, column in {"musicgen_uploads": "id", "musicgen_keys": "name"}.items():
            rows = await query(pool, f"SELECT {column} AS name FROM {table} ORDER BY created_at")
            assert [row["name"] for row in rows] == ["before", "after"]

    with_pool(work)


def test_a_job_that_ended_before_the_step_began_before_its_end(with_pool: WithPool) -> None:
    """It was submitted long ago, and its other times lie in the future."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        run = await _run_job(pool, app)
        await jobs.complete(pool, run, {"clips": []})
        await _recover(pool, app)
        await _move_times(pool, HOUR)
        long_ago = "UPDATE musicgen_jobs SET created_at = now() - '90s'::interval"
        await query(pool, long_ago)
        await _recover(pool, app)
        row = await jobs.get(pool, run.id)
        assert row is not None
        assert row["created_at"] <= row["started_at"] <= row["finished_at"]
        (ahead,) = await _measure(pool, "musicgen_jobs", "finished_at")
        assert ahead <= 0

    with_pool(work)
