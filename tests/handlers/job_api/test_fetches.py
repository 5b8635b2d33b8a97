"""A job enters the fetch stage once, and leaves it once, whoever moves it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handlers.job_api.store import fetches, jobs, queue, recovery, requeue, retention
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.queue_load import QueueLoadMeter

LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
URL = "http://example.com/sound.wav"
WithPool = Callable[[Callable[[Pool], Any]], Any]
_WORKER = (
    "INSERT INTO musicgen_workers (name, slots, makes, models, fetches, seen_at) "
    "VALUES (%s, 1, 'local', '{}', %s, now())"
)


async def _submit(pool: Pool, app: Any, to: str = queue.LOCAL, owner: str = "me") -> str:
    new = jobs.NewJob(owner, {"input_audio": URL}, "hash", 10.0, fetches=True)
    return await jobs.submit(pool, app, new, LIMITS, to)


async def _read(pool: Pool, job_id: str) -> dict[str, Any]:
    [row] = await query(
        pool,
        "SELECT j.state, j.fetches, j.fetched, j.queue_id, p.queue_name, p.lock "
        "FROM musicgen_jobs j JOIN procrastinate_jobs p ON p.id = j.queue_id WHERE j.id = %s",
        job_id,
    )
    return row


async def _fetch(pool: Pool, job_id: str) -> fetches.SoundFetch:
    fetch = await fetches.begin(pool, job_id, (await _read(pool, job_id))["queue_id"], "w")
    assert fetch is not None and fetch.url == URL
    return fetch


def test_fetches_of_an_owner_share_few_locks(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        number = 2 * queue.FETCHES_PER_OWNER
        mine = [await _read(pool, await _submit(pool, app)) for _ in range(number)]
        assert len({row["lock"] for row in mine}) == queue.FETCHES_PER_OWNER
        assert {row["queue_name"] for row in mine} == {queue.FETCH}
        other = await _read(pool, await _submit(pool, app, owner="other"))
        assert other["lock"] not in {row["lock"] for row in mine}

    with_pool(work)


def test_a_fetched_job_waits_for_a_slot_once(with_pool: WithPool) -> None:
    """A repeated statement finds the job that it has put there itself."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        fetch = await _fetch(pool, job_id := await _submit(pool, app))
        for _ in range(2):
            assert await fetches.finish(pool, app, fetch, "sound")
        row = await _read(pool, job_id)
        assert (row["state"], row["queue_name"]) == ("queued", queue.LOCAL)
        assert not row["fetches"] and not await fetches.is_current(pool, fetch)
        tasks = await query(pool, "SELECT id FROM procrastinate_jobs WHERE queue_name = 'local'")
        assert len(tasks) == 1
        run = await jobs.begin(pool, job_id, row["queue_id"], "w")
        assert run is not None and run.fetched == "sound" and run.request["input_audio"] == URL
        # Another attempt needs no other fetch.
        await requeue.put_back(pool, app, run)
        assert (await _read(pool, job_id))["queue_name"] == queue.LOCAL

    with_pool(work)


def test_a_cancelled_job_takes_no_late_sound(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        fetch = await _fetch(pool, job_id := await _submit(pool, app))
        await jobs.cancel(pool, "me", job_id)
        assert not await fetches.finish(pool, app, fetch, "sound")
        await fetches.fail(pool, fetch, {"code": "x", "message": "x"})
        await fetches.put_back(pool, app, fetch)
        row = await _read(pool, job_id)
        assert (row["state"], row["fetched"]) == ("cancelled", None)

    with_pool(work)


def test_a_job_from_the_remote_queue_is_fetched_before_it_takes_a_slot(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        row = await _read(pool, job_id := await _submit(pool, app, queue.REMOTE))
        assert row["queue_name"] == queue.REMOTE and not row["fetches"]
        run = await jobs.begin(pool, job_id, row["queue_id"], "relay")
        assert run is not None
        await requeue.move(pool, app, run, queue.LOCAL)
        await _fetch(pool, job_id)

    with_pool(work)


@pytest.mark.parametrize("newer", [False, True])
def test_workers_of_an_older_release_fetch_within_their_slots(
    with_pool: WithPool, newer: bool
) -> None:
    """They do not serve the fetch stage: a job waited there for the end of the upgrade."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        job_id = await _submit(pool, app)
        await recovery.recover(pool, app, 10, 3)
        assert (await _read(pool, job_id))["queue_name"] == queue.FETCH
        await query(pool, _WORKER, "old", False)
        if newer:
            await query(pool, _WORKER, "new", True)
        await recovery.recover(pool, app, 10, 3)
        expected = queue.FETCH if newer else queue.LOCAL
        assert (await _read(pool, job_id))["queue_name"] == expected

    with_pool(work)


def test_jobs_in_the_fetch_stage_are_no_load(with_pool: WithPool) -> None:
    """A caller's slow URLs sent other callers' jobs to a paid platform."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        slow = await _submit(pool, app)
        # Without a worker it waits as others do, which pages the operator.
        assert (await QueueLoadMeter(pool).read()).queued == 1
        await query(pool, _WORKER, "new", True)
        load = await QueueLoadMeter(pool).read()
        assert (load.queued, load.waiting, load.wait_seconds) == (0, 0, 0)
        new = jobs.NewJob("other", {}, "hash", 10.0)
        plain = await jobs.get(pool, await jobs.submit(pool, app, new, LIMITS, queue.LOCAL))
        waiting = await jobs.get(pool, slow)
        assert plain is not None and waiting is not None
        assert (plain["position"], waiting["position"]) == (1, 1)
        await fetches.finish(pool, app, await _fetch(pool, slow), "sound")
        load = await QueueLoadMeter(pool).read()
        assert (load.queued, load.waiting) == (2, 20)

    with_pool(work)


def test_a_fetched_sound_ends_with_its_job(with_pool: WithPool, tmp_path: Path) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        for name in ("needed", "done"):
            await query(pool, f"INSERT INTO musicgen_uploads VALUES ('{name}', 'me', 1)")
            job_id = await _submit(pool, app)
            await fetches.finish(pool, app, await _fetch(pool, job_id), name)
        await jobs.cancel(pool, "me", job_id)
        assert await fetches.find_sound_of_ended(pool, job_id) == "done"
        await retention.delete_expired(pool, JobFiles(tmp_path), 1, 1)
        assert await query(pool, "SELECT id FROM musicgen_uploads") == [{"id": "needed"}]

    with_pool(work)
