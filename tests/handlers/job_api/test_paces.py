"""Paces: each kind of work by what was measured of it, and an assumption before that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.paces import (
    ASSUMED,
    MEASURED_JOBS,
    PACE_DEFAULT,
    JobWork,
    Paces,
    find_middle,
    read_paces,
    record_work,
)
from handlers.job_api.store.queue_load import QueueLoad, QueueLoadMeter, WaitingWork, WorkerLoad
from handlers.job_api.store.status import build_status

WithPool = Callable[[Callable[[Pool], Any]], Any]
DEMO = ["model:demo"]
DIFFUSION = ["model:demo", "multi_band_diffusion"]
STEMS = ["model:demo", "stems"]
BOTH = ["midi", "model:demo", "stems"]


def test_nothing_measured_is_an_assumption() -> None:
    paces = Paces()
    assert paces.find_pace(DEMO) == PACE_DEFAULT
    assert paces.find_pace(DIFFUSION) == pytest.approx(PACE_DEFAULT * (1 + ASSUMED[DIFFUSION[1]]))
    assert paces.find_pace(STEMS) == pytest.approx(PACE_DEFAULT * (1 + ASSUMED["stems"]))
    assert paces.find_pace([]) == paces.find_pace(DEMO, is_remote=True) == PACE_DEFAULT


def test_a_kind_never_measured_follows_from_the_nearest_ones() -> None:
    paces = Paces({"model:demo": 0.1, "model:large": 4.0, "midi": 0.02, "remote": 0.5})
    assert paces.find_pace(["midi", "model:large"]) == pytest.approx(4.02)
    # The assumed parts go with the model that is measured.
    assert paces.find_pace(STEMS) == pytest.approx(0.1 * (1 + ASSUMED["stems"]))
    assert paces.find_pace(BOTH) == pytest.approx(0.1 * (1 + ASSUMED["stems"]) + 0.02)
    diffused = 0.1 * (1 + ASSUMED["multi_band_diffusion"])
    assert paces.find_pace(DIFFUSION) == pytest.approx(diffused)
    # Another model is like one of those measured; jobs made elsewhere have a pace of their own.
    assert paces.find_pace(["model:small"]) == 4.0
    assert paces.find_pace(STEMS, is_remote=True) == 0.5


def test_only_the_same_kind_of_work_counts_as_measured() -> None:
    paces = Paces({"model:demo": 0.1, "midi": 0.02, "remote": 0.5})
    assert paces.is_measured(DEMO) and paces.is_measured(["midi", *DEMO])
    for needs in (STEMS, BOTH, DIFFUSION, ["model:small"]):
        assert not paces.is_measured(needs)
        assert paces.is_measured(needs, is_remote=True)
    # Parts are measured together where they were made together.
    assert Paces({"model:demo": 0.1, "midi stems": 1.0}).is_measured(BOTH)
    assert not Paces().is_measured(DEMO, is_remote=True)


def test_the_middle_weighs_jobs_by_their_audio() -> None:
    # The first job has loaded weights, and the short ones have much fixed work.
    assert find_middle([30, 30, 30, 1, 1, 1], [90, 3, 6, 2, 2, 2]) == 0.2
    assert find_middle([5], [10]) == 2
    # Of two jobs alike the faster one: a load makes one slower, nothing makes one faster.
    assert find_middle([10, 10], [60, 3]) == 0.3


def test_measured_jobs_are_kept_by_kind_and_the_oldest_fall_out(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        assert (await read_paces(pool)).measured == {}
        for _ in range(MEASURED_JOBS):
            await record_work(pool, JobWork(STEMS, 10, 50, 20))
        await record_work(pool, JobWork(BOTH, 10, 50, 60))
        await record_work(pool, JobWork(DEMO, 0, 1))
        assert (await read_paces(pool)).measured == {
            "model:demo": 5,
            "stems": 2,
            "midi stems": 6,
        }
        for _ in range(MEASURED_JOBS):
            await record_work(pool, JobWork(DEMO, 10, 1))
        rows = await query(pool, "SELECT audio, work FROM musicgen_paces WHERE kind = 'model:demo'")
        assert [len(column) for column in rows[0].values()] == [MEASURED_JOBS] * 2
        paces = await read_paces(pool)
        assert paces.find_pace(STEMS) == pytest.approx(2.1)
        await record_work(pool, JobWork(STEMS, 10, 7, is_remote=True))
        assert (await read_paces(pool)).find_pace(BOTH, is_remote=True) == pytest.approx(0.7)

    with_pool(work)


def _load(*works: WaitingWork, makers: tuple[WorkerLoad, ...]) -> QueueLoad:
    slots = sum(maker.slots for maker in makers)
    queued = sum(work.queued for work in works)
    paces = Paces({"model:demo": 1.0, "stems": 2.0})
    return QueueLoad(len(makers), slots, queued, 0, 0, paces, makers, works)


def test_a_wait_is_for_the_workers_that_can_make_the_job() -> None:
    bare, able = WorkerLoad(1, 0, frozenset(DEMO)), WorkerLoad(1, 1, frozenset(STEMS))
    busy = WaitingWork(tuple(STEMS), 0, 10, 5)
    load = _load(busy, makers=(bare, able))
    assert load.estimate_wait(DEMO) == 0
    # The rest of the music, and all of its stems.
    assert load.estimate_wait(STEMS) == 5 + 20
    assert load.estimate_wait(BOTH) is None
    assert _load(busy, makers=()).estimate_wait(DEMO) is None
    old = WorkerLoad(1, 0, None)
    assert _load(busy, makers=(bare, able, old)).estimate_wait(STEMS) == 0
    plain = WaitingWork(tuple(DEMO), 3, 90, 90)
    both = _load(busy, plain, makers=(bare, able))
    assert both.estimate_wait(DEMO) == both.estimate_wait(STEMS) == (25 + 90) / 2


def test_a_queued_job_does_not_wait_for_itself(with_pool: WithPool) -> None:
    """It counted twice: in the queue, and as its own work."""

    async def work(pool: Pool) -> None:
        app, limits = await queue.open_queue(pool), jobs.JobLimits(9, 9)
        request = {"prompt": "x", "model_version": "demo", "stems": True}
        new = jobs.NewJob("one", request, "h", 10.0)
        job_id = await jobs.submit(pool, app, new, limits, queue.LOCAL)
        await query(
            pool,
            "INSERT INTO musicgen_workers (name, slots, makes, models) "
            "VALUES ('w', 1, 'local', '{demo}')",
        )
        row = await jobs.get(pool, job_id)
        assert row is not None
        # Nothing is told that rests on an assumption, until the music shows its own pace.
        guess = await QueueLoadMeter(pool).read()
        begun = {**row, "state": "running", "elapsed": 6.0, "progress": 0.5}
        assert build_status(row, guess)["expected_seconds"] is None
        assert build_status(begun, guess)["expected_seconds"] is None
        plain = {**begun, "needs": DEMO}
        assert build_status(plain, guess)["expected_seconds"] == 6
        # One step after the prompts were encoded, a minute's clip was to take 15 minutes.
        first_step = {"elapsed": 2.0, "progress": 0.002}
        assert build_status({**plain, **first_step}, guess)["expected_seconds"] is None
        await record_work(pool, JobWork(STEMS, 10, 10, 20))
        load = await QueueLoadMeter(pool).read()
        assert build_status(row, load)["expected_seconds"] == 30
        running = {**row, "state": "running", "elapsed": 6.0, "progress": 0.5}
        # Half of the music has taken six seconds; the stems come after all of it.
        assert build_status(running, load)["expected_seconds"] == 26
        first = {**running, **first_step}
        assert build_status(first, load)["expected_seconds"] == pytest.approx(30, abs=0.1)
        finished = {**running, "progress": 1.0}
        assert build_status(finished, load)["expected_seconds"] == 24

    with_pool(work)
