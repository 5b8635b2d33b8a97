"""Claims are fair among owners, and the places that callers see are those of the claims."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from procrastinate.jobs import Status

from handlers.job_api.store import deletions, jobs, queue
from handlers.job_api.store.claims import share_claims
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.places import find_new_place
from handlers.job_api.store.queue_load import QueueLoad, WaitingWork, WorkerLoad

WithPool = Callable[[Callable[[Pool], Any]], Any]
LIMITS = jobs.JobLimits(queue_max=10**6, jobs_per_key=10**6)
DEMO = ["model:demo"]
# A thousand submissions would take seconds.
_MANY = """
    WITH task AS (
        INSERT INTO procrastinate_jobs (queue_name, task_name, args)
        SELECT 'local', 'musicgen.generate', jsonb_build_object('job_id', md5(%s || ' ' || n))
        FROM generate_series(1, %s) n RETURNING id, args
    )
    INSERT INTO musicgen_jobs (id, owner, request, request_hash, queue, queue_id, audio_seconds,
        needs) SELECT args->>'job_id', %s, '{}', 'h', 'local', id, 5, '{model:demo}' FROM task
"""


class Queue:
    """The queue of a database, with the steps of a worker."""

    def __init__(self, pool: Pool, app: Any, worker: int) -> None:
        self.pool, self.app, self.worker = pool, app, worker
        self.tasks: dict[str, int] = {}

    async def submit(self, owner: str, priority: int = 0, to: str = queue.LOCAL) -> str:
        new = jobs.NewJob(owner, {"prompt": "x", "model_version": "demo"}, "h", 5.0, priority)
        return await jobs.submit(self.pool, self.app, new, LIMITS, to)

    async def submit_many(self, owner: str, count: int) -> None:
        await query(self.pool, _MANY, owner, count, owner)

    async def claim(self, name: str = queue.LOCAL) -> str | None:
        """Claim and begin the next job."""
        task = await self.app.job_manager.fetch_job([name], self.worker)
        if task is None:
            return None
        job_id = str(task.task_kwargs["job_id"])
        self.tasks[job_id] = task.id
        assert await jobs.begin(self.pool, job_id, task.id, "w") is not None
        return job_id

    async def claim_owner(self) -> str | None:
        job_id = await self.claim()
        return None if job_id is None else await self.owner(job_id)

    async def owner(self, job_id: str) -> str:
        row = await jobs.get(self.pool, job_id)
        assert row is not None
        return str(row["owner"])

    async def place(self, job_id: str) -> int:
        row = await jobs.get(self.pool, job_id)
        assert row is not None
        return int(row["position"])

    async def end(self, job_id: str) -> None:
        run = jobs.WorkerRun(job_id, self.tasks[job_id], 1, "", {}, 5.0, None, 0.0)
        assert await jobs.complete(self.pool, run, {"clips": []})
        await self.app.job_manager.finish_job_by_id_async(
            self.tasks[job_id], Status.SUCCEEDED, delete_job=False
        )


@pytest.fixture
def with_queue(with_pool: WithPool) -> Callable[[Callable[[Queue], Any]], Any]:
    def run(work: Callable[[Queue], Any]) -> Any:
        async def open_and_work(pool: Pool) -> Any:
            app = await queue.open_queue(pool)
            share_claims(app, lambda: DEMO)
            return await work(Queue(pool, app, await app.job_manager.register_worker()))

        return with_pool(open_and_work)

    return run


WithQueue = Callable[[Callable[[Queue], Any]], Any]


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_thousand_jobs_of_one_owner_delay_another_by_the_running_ones_only(
    with_queue: WithQueue, slots: int
) -> None:
    """With one slot nothing runs at a claim, so counts of running jobs alone would not do."""

    async def work(q: Queue) -> None:
        await q.submit_many("hog", 1000)
        running = [await q.claim() for _ in range(slots)]
        assert None not in running
        one = await q.submit("small")
        assert await q.place(one) == 1
        await q.end(str(running[0]))
        assert await q.claim() == one

    with_queue(work)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_no_owner_starves_and_the_order_of_each_is_kept(with_queue: WithQueue, slots: int) -> None:
    async def work(q: Queue) -> None:
        chance = random.Random(slots)
        orders = {owner: [await q.submit(owner) for _ in range(12)] for owner in "abc"}
        running: list[str] = []
        claimed: list[str] = []
        others = dict.fromkeys(orders, 0)  # claims of others while an owner had nothing running
        while (job_id := await q.claim()) is not None:
            for owner, order in orders.items():
                if job_id in order or {*order} <= {*claimed} or {*order} & {*running}:
                    others[owner] = 0
                else:
                    others[owner] += 1
            assert max(others.values()) <= 2
            running.append(job_id)
            claimed.append(job_id)
            if len(running) == slots:
                await q.end(running.pop(chance.randrange(slots)))
        for order in orders.values():
            assert [job for job in claimed if job in order] == order

    with_queue(work)


def test_one_owner_uses_all_slots_in_the_order_of_submission(with_queue: WithQueue) -> None:
    """So it is without keys too: all callers are one owner then."""

    async def work(q: Queue) -> None:
        ids = [await q.submit("") for _ in range(8)]
        assert [await q.place(job) for job in ids] == [*range(1, 9)]
        assert [await q.claim() for _ in range(9)] == [*ids, None]

    with_queue(work)


def test_priority_comes_before_fairness(with_queue: WithQueue) -> None:
    async def work(q: Queue) -> None:
        await q.submit("small")
        urgent = [await q.submit("hog", priority=1) for _ in range(3)]
        assert [await q.claim() for _ in range(3)] == urgent
        assert await q.claim_owner() == "small"

    with_queue(work)


def test_remote_jobs_are_claimed_fairly_too(with_queue: WithQueue) -> None:
    async def work(q: Queue) -> None:
        hog = [await q.submit("hog", to=queue.REMOTE) for _ in range(3)]
        small = await q.submit("small", to=queue.REMOTE)
        await q.submit("small")
        assert [await q.place(job) for job in (*hog, small)] == [1, 3, 4, 2]
        claimed = [await q.claim(queue.REMOTE) for _ in range(5)]
        assert claimed == [hog[0], small, *hog[1:], None]

    with_queue(work)


@pytest.mark.parametrize("seed", range(6))
def test_places_are_the_order_of_the_claims(with_queue: WithQueue, seed: int) -> None:
    async def work(q: Queue) -> None:
        chance = random.Random(seed)

        async def submit_some(count: int) -> None:
            for _ in range(count):
                await q.submit(chance.choice("aaabbcd"), chance.choice((0, 0, 0, 1, 2)))

        await submit_some(15)
        running = [str(await q.claim()) for _ in range(10)]
        chance.shuffle(running)
        for job_id in running[:6]:
            await q.end(job_id)
        await submit_some(15)
        newcomer = chance.choice("abcde")
        expected = await find_new_place(q.pool, queue.LOCAL, newcomer)
        new = await q.submit(newcomer)
        assert await q.place(new) == expected
        rows = await query(q.pool, "SELECT id FROM musicgen_jobs WHERE state = 'queued'")
        places = {row["id"]: await q.place(row["id"]) for row in rows}
        claimed = [await q.claim() for _ in rows]
        assert [places[str(job_id)] for job_id in claimed] == [*range(1, len(rows) + 1)]

    with_queue(work)


def test_claims_at_once_take_each_job_once_and_stay_fair(with_queue: WithQueue) -> None:
    async def work(q: Queue) -> None:
        await q.submit_many("hog", 40)
        for _ in range(10):
            await q.submit("small")
        claimed = await asyncio.gather(*(q.claim() for _ in range(20)))
        assert len({*claimed} - {None}) == 20
        owners = [await q.owner(str(job_id)) for job_id in claimed]
        assert owners.count("small") == owners.count("hog") == 10

    with_queue(work)


def test_a_cancelled_job_leaves_no_task_and_is_never_claimed(with_queue: WithQueue) -> None:
    async def work(q: Queue) -> None:
        gone, stays = await q.submit("one"), await q.submit("one")
        await jobs.cancel(q.pool, "one", gone)
        tasks = await query(q.pool, "SELECT status FROM procrastinate_jobs ORDER BY id")
        assert [task["status"] for task in tasks] == ["cancelled", "todo"]
        assert [await q.claim(), await q.claim()] == [stays, None]

    with_queue(work)


def test_nothing_of_an_owner_stays_when_its_data_are_deleted(with_queue: WithQueue) -> None:
    async def work(q: Queue) -> None:
        for owner in ("gone", "stays"):
            await q.submit(owner)
            await q.claim()
        await deletions.delete_all(q.pool, "gone")
        turns = await query(q.pool, "SELECT owner FROM musicgen_turns")
        assert [row["owner"] for row in turns] == ["stays"]

    with_queue(work)


def test_a_claim_in_a_long_queue_reads_few_jobs(with_queue: WithQueue) -> None:
    """Without statistics too: a queue may grow faster than the database analyses it."""

    async def work(q: Queue) -> None:
        for owner in range(5):
            await q.submit_many(f"owner {owner}", 4000)
        reads = """SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::integer AS n
            FROM pg_stat_xact_user_tables
            WHERE relname IN ('musicgen_jobs', 'procrastinate_jobs')"""
        async with q.pool.connection() as connection, connection.transaction():
            claim = "SELECT id FROM musicgen_claim('local', '{model:demo}', %s)"
            # The figures hold what the connection has done before, too.
            before = (await (await connection.execute(reads)).fetchall())[0]["n"]
            assert await (await connection.execute(claim, [q.worker])).fetchone() is not None
            after = (await (await connection.execute(reads)).fetchall())[0]["n"]
            assert 0 < after - before < 100

    with_queue(work)


def test_an_estimate_counts_the_work_before_the_callers_place() -> None:
    work = WaitingWork(tuple(DEMO), queued=99, audio=500, left=500)
    load = QueueLoad(1, 1, 99, 1, 500, makers=(WorkerLoad(1, 1),), works=(work,))
    assert load.estimate_wait(DEMO) == load.estimate_wait(DEMO, place=100) == 500
    assert load.estimate_wait(DEMO, place=1) == 5
