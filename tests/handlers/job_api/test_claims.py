"""A worker takes only jobs that it can make, and a job without such a worker ends with a reason."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handlers.job_api.store import abilities, jobs, queue
from handlers.job_api.store.claims import share_claims
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.models import WorkerRow, write_worker
from handlers.job_api.store.needs import list_abilities, list_needs
from musicgen import catalog
from tests.support.job_server import JobServer, environment, job_server, start, stop
from tests.support.onnx_stems import write_model

WithPool = Callable[[Callable[[Pool], Any]], Any]
LIMITS = jobs.JobLimits(queue_max=1000, jobs_per_key=1000)
PLAIN = list_abilities((), (), ("stems", "midi", "decoder"))
FAST = {
    "MUSICGEN_WORKER_TIMEOUT": 6,
    "MUSICGEN_DRAIN_SECONDS": 1,
    "MUSICGEN_RATE_LIMIT": "100000/minute",
}


async def _submit(pool: Pool, app: Any, priority: int = 0, **request: Any) -> str:
    fields = {"prompt": "x", "model_version": "demo", **request}
    new = jobs.NewJob("one", fields, "h", 5.0, priority)
    return await jobs.submit(pool, app, new, LIMITS, queue.LOCAL)


async def _claim(app: Any, able: list[str]) -> str | None:
    """The next job for a worker with these abilities."""
    share_claims(app, lambda: able)
    worker = await app.job_manager.register_worker()
    task = await app.job_manager.fetch_job([queue.LOCAL], worker)
    return None if task is None else task.task_kwargs["job_id"]


def test_needs_and_abilities_have_the_same_names() -> None:
    full = {"stems": True, "midi": True, "decoder": "multi_band_diffusion"}
    needs = list_needs({**full, "model_version": "facebook/musicgen-large"})
    assert needs == ["midi", "model:large", "multi_band_diffusion", "stems"]
    assert {*needs} <= {*list_abilities((), (), ())}
    assert {*needs} - {*list_abilities((), ["large"], ["stems"])} == {"model:large", "stems"}
    # A loaded model is at hand, though the survey misses its files; others have no other place.
    own = {*list_abilities(["large", "mine"], catalog.CATALOG, ())}
    assert {name for name in own if name.startswith("model:")} == {"model:large", "model:mine"}
    assert list_needs({"decoder": "encodec", "stems": False}) == []


def test_a_claim_skips_what_the_worker_cannot_make_and_keeps_the_order(
    with_pool: WithPool,
) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        first, second = [await _submit(pool, app, stems=True) for _ in range(2)]
        plain = await _submit(pool, app)
        urgent = await _submit(pool, app, priority=5, midi=True)
        own = await _submit(pool, app, model_version="mine")
        # Of an older program, whose jobs have no needs.
        older = await _submit(pool, app)
        await query(pool, "UPDATE musicgen_jobs SET needs = '{}' WHERE id = %s", older)
        assert await _claim(app, PLAIN) == plain
        every = list_abilities((), (), ())
        assert [await _claim(app, every) for _ in range(3)] == [urgent, first, second]
        assert await _claim(app, PLAIN) == older
        assert await _claim(app, every) is None
        assert await _claim(app, [*PLAIN, "model:mine"]) == own

    with_pool(work)


def test_a_claim_behind_many_jobs_for_others_reads_no_finished_job(with_pool: WithPool) -> None:
    """Of a hash join over all jobs each claim would take as long as the history is."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        for _ in range(5):
            await _submit(pool, app, stems=True)
        await query(
            pool,
            "INSERT INTO musicgen_jobs (id, owner, state, request, request_hash, queue, "
            "audio_seconds) SELECT md5(n::text), 'one', 'completed', '{}', 'h', 'local', 1 "
            "FROM generate_series(1, 5000) n",
        )
        await query(pool, "ANALYZE musicgen_jobs")
        plain = await _submit(pool, app)
        scans = "SELECT seq_tup_read AS n FROM pg_stat_user_tables WHERE relname = 'musicgen_jobs'"
        await query(pool, "SELECT pg_stat_force_next_flush()")
        before = (await query(pool, scans))[0]["n"]
        assert await _claim(app, PLAIN) == plain
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
        await asyncio.sleep(0.1)
        assert (await query(pool, scans))[0]["n"] - before < 5000

    with_pool(work)


def test_a_job_ends_with_a_reason_when_no_worker_for_it_comes_back(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        stems, plain = await _submit(pool, app, stems=True), await _submit(pool, app)
        own = await _submit(pool, app, model_version="mine")

        async def find_states() -> list[str]:
            rows = [await jobs.get(pool, job) for job in (stems, plain, own)]
            return [row["state"] for row in rows if row is not None]

        # Without any worker jobs wait for one.
        assert await abilities.fail_unable(pool, patience=0) == []
        missing = {"stems": "Install Demucs."}
        bare = WorkerRow("bare", 1, "local", ["demo"], None, {}, abilities=PLAIN,
                         missing_parts=missing)  # fmt: skip
        await write_worker(pool, bare)
        assert await abilities.fail_unable(pool) == []
        assert await find_states() == ["queued"] * 3
        # One with the packages comes back in time; then it goes for good.
        able = WorkerRow("able", 1, "local", ["demo"], None, {},
                         abilities=list_abilities(["mine"], (), ()))  # fmt: skip
        await write_worker(pool, able)
        assert await abilities.fail_unable(pool, patience=0) == []
        await query(pool, "DELETE FROM musicgen_workers WHERE name = 'able'")
        assert await abilities.fail_unable(pool) == []
        assert set(await abilities.fail_unable(pool, patience=0)) == {stems, own}
        assert await find_states() == ["failed", "queued", "failed"]
        row = await jobs.get(pool, stems)
        assert row is not None and row["error"] == {
            "code": "part_unavailable",
            "field": "stems",
            "message": "stems cannot be made here. Install Demucs. No worker that could make it "
            "ran for 0 minutes.",
        }
        row = await jobs.get(pool, own)
        assert row is not None and row["error"]["code"] == "model_unavailable"
        assert await _claim(app, list_abilities(["mine"], (), ())) == plain
        assert await _claim(app, list_abilities(["mine"], (), ())) is None

    with_pool(work)


def test_a_worker_of_an_older_program_may_come_to_any_job(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        await _submit(pool, app, stems=True)
        await write_worker(pool, WorkerRow("bare", 1, "local", ["demo"], None, {}, abilities=PLAIN))
        await write_worker(pool, WorkerRow("old", 1, "local", ["demo"], None, {}))
        assert await abilities.fail_unable(pool, patience=0) == []
        assert await abilities.fail_unable(pool, patience=0) == []

    with_pool(work)


@contextmanager
def _worker(api: JobServer, database: str, log: Path, **settings: object) -> Iterator[Any]:
    env = environment(api.folder, DATABASE_URL=database, **FAST, MUSICGEN_SLOTS=1, **settings)
    process = start("worker", env, log)
    try:
        yield process
    finally:
        stop(process)


def _wait_for_workers(api: JobServer, number: int, processes: list[Any], log: Path) -> None:
    end = time.monotonic() + 90
    while api.http.get("/readyz").json()["workers"] != number:
        assert time.monotonic() < end, log.read_text()[-2000:]
        assert all(process.poll() is None for process in processes), log.read_text()[-2000:]
        time.sleep(0.1)


def _age(database: str) -> None:
    """As if the workers had been away for an hour."""
    with psycopg.connect(database, autocommit=True) as connection:
        change = "UPDATE musicgen_jobs SET unable_since = unable_since - interval '1 hour'"
        connection.execute(change)


def test_two_workers_share_jobs_by_what_they_can_make(
    data: Path, database: str, tmp_path: Path
) -> None:
    model, log = write_model(tmp_path / "bands.onnx"), tmp_path / "workers.log"
    with ExitStack() as stack:
        api = stack.enter_context(job_server(data, "api", DATABASE_URL=database, **FAST))
        bare = stack.enter_context(_worker(api, database, log, MUSICGEN_SEPARATION="off"))
        able = stack.enter_context(_worker(api, database, log, MUSICGEN_SEPARATION=model))
        _wait_for_workers(api, 2, [bare, able], log)
        # The able one is busy for long, and the other one is free.
        long = api.submit(duration=300, stems=True)
        api.until(long, lambda now: now["status"] == "running")
        waiting = api.submit(duration=0.5, stems=True)
        for _ in range(4):
            assert api.ended(api.submit(duration=0.5))["status"] == "completed"
        assert api.status(waiting)["status"] == "queued"
        time.sleep(1.1)
        parts = {"duration": 1, "stems": True}
        assert api.http.get("/v1/estimate", params=parts).json()["wait_seconds"] > 0
        assert api.http.get("/v1/estimate", params={"duration": 1}).json()["wait_seconds"] == 0
        api.http.post(f"/v1/jobs/{long}/cancel").raise_for_status()
        ended = api.ended(waiting)
        assert (ended["status"], ended["attempt"]) == ("completed", 1)
        _check_end_without_able_worker(api, able, database)
        assert bare.poll() is None


def _check_end_without_able_worker(
    api: JobServer, able: subprocess.Popen[bytes], database: str
) -> None:
    long = api.submit(duration=300, stems=True)
    api.until(long, lambda now: now["status"] == "running")
    able.kill()
    able.wait()
    # Its job is queued again, for another one that can make it.
    waits = {"status": "queued", "attempt": 1, "expected_seconds": None}
    api.until(long, lambda now: waits.items() <= now.items())
    assert api.ended(api.submit(duration=0.5))["status"] == "completed"
    refused = api.http.post("/v1/generate", json={"prompt": "x", "stems": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "part_unavailable")
    estimate = api.http.get("/v1/estimate", params={"stems": True})
    assert (estimate.status_code, estimate.json()["error"]["field"]) == (422, "stems")
    time.sleep(3)
    assert api.status(long)["status"] == "queued"
    _age(database)
    ended = api.ended(long)
    assert ended["status"] == "failed"
    assert (ended["error"]["code"], ended["error"]["field"]) == ("part_unavailable", "stems")
    assert "MUSICGEN_SEPARATION is off." in ended["error"]["message"]
    assert "ran for 10 minutes" in ended["error"]["message"]


@pytest.mark.parametrize("field", ["stems", "midi"])
def test_parts_that_no_single_worker_makes_together_are_refused(
    with_pool: WithPool, field: str
) -> None:
    from handlers.job_api.store.models import find_available_models
    from musicgen.errors import PartUnavailable

    async def work(pool: Pool) -> None:
        for lacks in ("stems", "midi"):
            row = WorkerRow(lacks, 1, "local", ["demo"], None, {}, missing_parts={lacks: "Get it."},
                            abilities=list_abilities((), (), [lacks]))  # fmt: skip
            await write_worker(pool, row)
        available = await find_available_models(pool, "demo")
        abilities.check_needs([field, "model:demo"], available)
        with pytest.raises(PartUnavailable, match="together with model demo, stems"):
            abilities.check_needs(["midi", "model:demo", "stems"], available)

    with_pool(work)
