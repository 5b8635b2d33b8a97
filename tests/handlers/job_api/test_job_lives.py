"""A job ends exactly once, whoever dies, comes back late or asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from handlers.job_api.errors import IdempotencyConflict, QueueFull, TooManyJobs
from handlers.job_api.store import history, jobs, queue, recovery, retention
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles

LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
WithPool = Callable[[Callable[[Pool], Any]], Any]
TIMEOUT, ATTEMPTS = 10.0, 3


def _new(owner: str = "one", **fields: Any) -> jobs.NewJob:
    usual = {"request": {"prompt": "x"}, "request_hash": "h", "audio_seconds": 5.0}
    return jobs.NewJob(owner, **usual | fields)


async def _submit(pool: Pool, app: Any, **fields: Any) -> str:
    return await jobs.submit(pool, app, _new(**fields), LIMITS, queue.LOCAL)


async def _queue_id(pool: Pool, job_id: str) -> int:
    row = await jobs.get(pool, job_id)
    assert row is not None
    return int(row["queue_id"])


async def _begin(pool: Pool, job_id: str) -> jobs.WorkerRun:
    run = await jobs.begin(pool, job_id, await _queue_id(pool, job_id), "w")
    assert run is not None
    return run


async def _lose_worker(pool: Pool, job_id: str) -> None:
    """As the queue sees it when a worker is killed in a job, and has been silent for long."""
    worker = await query(
        pool,
        "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour') "
        "RETURNING id",
    )
    await query(
        pool,
        "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = %s",
        *(worker[0]["id"], await _queue_id(pool, job_id)),
    )


def test_only_runs_that_their_worker_has_ended_are_released(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        runs = [await _begin(pool, await _submit(pool, app)) for _ in range(3)]
        await query(pool, "UPDATE procrastinate_jobs SET status = 'doing'")
        await query(pool, "UPDATE musicgen_jobs SET maker = 'other' WHERE id = %s", runs[2].id)
        await recovery.release_ended_runs(pool, "w", lambda: [runs[0].queue_id])
        rows = await query(pool, "SELECT id FROM procrastinate_jobs WHERE status = 'failed'")
        assert [row["id"] for row in rows] == [runs[1].queue_id]

    with_pool(work)


def test_a_job_of_a_lost_worker_is_run_again_and_the_late_one_is_fenced(
    with_pool: WithPool,
) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        job_id = await _submit(pool, app)
        late = await _begin(pool, job_id)
        await _lose_worker(pool, job_id)
        found = await recovery.recover(pool, app, TIMEOUT, ATTEMPTS)
        assert found == recovery.RecoveryCounts(1, 0)
        second = await _begin(pool, job_id)
        assert second.name != late.name and second.attempt == 2
        assert not await jobs.advance(pool, late, 0.9, streams=False)
        assert not await jobs.complete(pool, late, {"clips": ["late"]})
        assert not await jobs.fail(pool, late, {"code": "late"})
        assert await jobs.begin(pool, job_id, late.queue_id, "late") is None
        assert await jobs.complete(pool, second, {"clips": ["second"]})
        row = await jobs.get(pool, job_id)
        assert row is not None and row["result"] == {"clips": ["second"]}
        assert await recovery.recover(pool, app, TIMEOUT, ATTEMPTS) == recovery.RecoveryCounts(0, 0)

    with_pool(work)


def test_an_end_that_is_told_twice_is_the_same_end(with_pool: WithPool) -> None:
    """The answer to the first statement was lost with the connection."""

    async def work(pool: Pool) -> None:
        run = await _begin(pool, await _submit(pool, await queue.open_queue(pool)))
        assert await jobs.complete(pool, run, {"clips": []})
        assert await jobs.complete(pool, run, {"clips": []})
        assert not await jobs.fail(pool, run, {"code": "x"})

    with_pool(work)


def test_attempts_end(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        job_id = await _submit(pool, app)
        for _ in range(ATTEMPTS):
            await _begin(pool, job_id)
            await _lose_worker(pool, job_id)
            found = await recovery.recover(pool, app, TIMEOUT, ATTEMPTS)
        assert found == recovery.RecoveryCounts(0, 1)
        row = await jobs.get(pool, job_id)
        assert row is not None
        assert (row["state"], row["error"]["code"]) == ("failed", "attempts_exhausted")

    with_pool(work)


@pytest.mark.parametrize("status", ["succeeded", "failed", "aborted", "gone"])
def test_a_job_that_the_queue_forgot_is_put_back(with_pool: WithPool, status: str) -> None:
    """Of a worker that stopped before the end, or came back late and closed another's task."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        job_id = await _submit(pool, app)
        queue_id = await _queue_id(pool, job_id)
        if status == "gone":
            await query(pool, "DELETE FROM procrastinate_jobs WHERE id = %s", queue_id)
        else:
            change = f"UPDATE procrastinate_jobs SET status = '{status}' WHERE id = %s"
            await query(pool, change, queue_id)
        assert (await recovery.recover(pool, app, TIMEOUT, ATTEMPTS)).requeued == 1
        assert (await recovery.recover(pool, app, TIMEOUT, ATTEMPTS)).requeued == 0
        assert await _queue_id(pool, job_id) != queue_id

    with_pool(work)


def test_a_cancelled_job_is_nobody_s(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        waiting, running = await _submit(pool, app), await _submit(pool, app)
        run = await _begin(pool, running)
        for job_id in (waiting, running):
            await jobs.cancel(pool, "another", job_id)
            row = await jobs.get(pool, job_id)
            assert row is not None and row["state"] != "cancelled"
            await jobs.cancel(pool, "one", job_id)
        assert not await jobs.advance(pool, run, 0.5, streams=False)
        assert not await jobs.complete(pool, run, {})
        assert await jobs.begin(pool, waiting, await _queue_id(pool, waiting), "w") is None
        assert (await recovery.recover(pool, app, TIMEOUT, ATTEMPTS)).requeued == 0

    with_pool(work)


def test_one_idempotency_key_is_one_job(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        ids = await asyncio.gather(*(_submit(pool, app, idempotency_key="k") for _ in range(8)))
        assert len(set(ids)) == 1
        other = await _submit(pool, app, owner="another", idempotency_key="k")
        assert other not in ids
        with pytest.raises(IdempotencyConflict):
            await _submit(pool, app, idempotency_key="k", request_hash="other")
        tasks = await query(pool, "SELECT count(*) AS n FROM procrastinate_jobs")
        assert tasks[0]["n"] == 2

    with_pool(work)


def test_quota_and_queue_have_an_end(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        limits = jobs.JobLimits(queue_max=5, jobs_per_key=3)

        async def one(owner: str) -> object:
            try:
                return await jobs.submit(pool, app, _new(owner), limits, queue.LOCAL)
            except (TooManyJobs, QueueFull) as refusal:
                return refusal

        first = await asyncio.gather(*(one("one") for _ in range(8)))
        assert sum(isinstance(each, str) for each in first) == 3
        assert sum(isinstance(each, TooManyJobs) for each in first) == 5
        assert isinstance(await one("two"), str) and isinstance(await one("three"), str)
        assert isinstance(await one("four"), QueueFull)
        await jobs.cancel(pool, "one", next(each for each in first if isinstance(each, str)))
        assert isinstance(await one("four"), str)

    with_pool(work)


def test_the_urgent_come_first_and_know_their_place(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        ids = [await _submit(pool, app, priority=priority) for priority in (0, 5, 0, -5)]
        rows = [await jobs.get(pool, job_id) for job_id in ids]
        assert [row["position"] for row in rows if row] == [2, 1, 3, 4]
        taken = []
        worker = await app.job_manager.register_worker()
        while task := await app.job_manager.fetch_job(queues=None, worker_id=worker):
            taken.append(task.task_kwargs["job_id"])
        assert taken == [ids[1], ids[0], ids[2], ids[3]]

    with_pool(work)


def test_pages_hold_each_job_of_a_key_once(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        ids = [await _submit(pool, app) for _ in range(7)]
        await _submit(pool, app, owner="another")
        seen: list[str] = []
        before = None
        while rows := await history.list_jobs(pool, "one", 3, before):
            seen += [row["id"] for row in rows]
            before = (rows[-1]["created_at"].isoformat(), rows[-1]["id"])
        assert seen == ids[::-1]

    with_pool(work)


def test_what_is_past_its_time_is_forgotten_with_its_files(
    with_pool: WithPool, tmp_path: Any
) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        old, new = await _submit(pool, app), await _submit(pool, app)
        for job_id in (old, new):
            run = await _begin(pool, job_id)
            await jobs.complete(pool, run, {"clips": []})
            (tmp_path / "clips" / run.name).mkdir(parents=True)
        past = "UPDATE musicgen_jobs SET finished_at = now() - interval '2 hours' WHERE id = %s"
        await query(pool, past, old)
        await retention.delete_expired(pool, JobFiles(tmp_path), retention_hours=1, upload_hours=1)
        assert await jobs.get(pool, old) is None and await jobs.get(pool, new) is not None
        assert [path.name.split("-")[0] for path in (tmp_path / "clips").iterdir()] == [new]

    with_pool(work)


def test_a_submission_whose_answer_the_database_lost_is_made_once(with_pool: WithPool) -> None:
    """Every connection is cut again and again meanwhile, before and after what it was asked to
    commit: it was a failed call once, and would be a job made twice if it were simply repeated."""
    count = 60

    async def cut(pool: Pool, done: asyncio.Event) -> None:
        while not done.is_set():
            await query(
                pool,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            await asyncio.sleep(0.03)

    async def work(pool: Pool) -> None:
        app, done = await queue.open_queue(pool), asyncio.Event()
        cutting = asyncio.create_task(cut(pool, done))
        ids = [await _submit(pool, app, owner=f"owner {n % 7}") for n in range(count)]
        done.set()
        await cutting
        rows = await query(pool, "SELECT j.id, p.status FROM musicgen_jobs j "
                                 "JOIN procrastinate_jobs p ON p.id = j.queue_id")  # fmt: skip
        assert {row["id"] for row in rows} == set(ids) and len(rows) == count
        tasks = await query(pool, "SELECT count(*) AS tasks FROM procrastinate_jobs")
        assert tasks[0]["tasks"] == count

    with_pool(work)
