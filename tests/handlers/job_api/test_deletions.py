"""Owners delete jobs and uploads: rows at once, files as soon as possible, nothing comes back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from handlers.job_api.errors import UploadInUse
from handlers.job_api.store import deletions, jobs, queue, uploads, webhook_deliveries
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from musicgen.errors import BucketUnavailable
from tests.support.clips import wav
from tests.support.job_server import JobServer

LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
QUOTA = uploads.UploadQuota(100, 10**9, 24)
WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]


async def _submit(pool: Pool, owner: str = "one", **fields: Any) -> str:
    app = await queue.open_queue(pool)
    job = jobs.NewJob(owner, {"prompt": "x", **fields.pop("request", {})}, "h", 1.0, **fields)
    return await jobs.submit(pool, app, job, LIMITS, queue.LOCAL)


async def _begin(pool: Pool, job_id: str) -> jobs.WorkerRun:
    row = await jobs.get(pool, job_id)
    assert row is not None
    await query(
        pool, "UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", row["queue_id"]
    )
    run = await jobs.begin(pool, job_id, row["queue_id"], "w")
    assert run is not None
    return run


async def _count_left(pool: Pool) -> int:
    rows = await query(pool, "SELECT count(*) AS n FROM musicgen_deletions WHERE NOT is_done")
    return int(rows[0]["n"])


def _write_files(folder: Path, run: jobs.WorkerRun) -> None:
    for name in (f"clips/{run.name}/1.wav", f"converted/{run.name}-1.mp3", f"growing/{run.name}-1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def _list_files(folder: Path) -> list[str]:
    # Unlike rglob, walk takes a folder that the server deletes meanwhile.
    return sorted(name for _, _, names in os.walk(folder) for name in names)


def test_a_deleted_job_leaves_no_file_and_no_webhook(with_pool: WithPool, tmp_path: Path) -> None:
    async def work(pool: Pool) -> None:
        files = JobFiles(tmp_path)
        gone = await _submit(pool, webhook_url="http://x.example", idempotency_key="once")
        kept = await _submit(pool)
        for job_id in (gone, kept):
            run = await _begin(pool, job_id)
            await jobs.complete(pool, run, {"clips": []})
            _write_files(tmp_path, run)
        assert not await deletions.delete_job(pool, "another", gone)
        assert await deletions.delete_job(pool, "one", gone)
        assert await jobs.get(pool, gone) is None
        assert await webhook_deliveries.lease_due(pool, 8) == []
        assert await deletions.delete_files(pool, files, "job", gone)
        assert len(_list_files(tmp_path)) == 3
        assert await _submit(pool, idempotency_key="once") != gone
        assert await jobs.get(pool, kept) is not None

    with_pool(work)


def test_files_of_a_worker_that_stores_late_go_too(with_pool: WithPool, tmp_path: Path) -> None:
    """The worker has not yet noticed that its job is deleted, and dies before it tidies up."""

    async def work(pool: Pool) -> None:
        files = JobFiles(tmp_path)
        run = await _begin(pool, await _submit(pool))
        await jobs.cancel(pool, "one", run.id)
        assert await deletions.delete_job(pool, "one", run.id)
        assert await deletions.delete_files(pool, files, "job", run.id)
        _write_files(tmp_path, run)
        assert not await jobs.complete(pool, run, {"clips": []})
        assert await _count_left(pool) == 1, "its task still runs"
        await query(pool, "UPDATE procrastinate_jobs SET status = 'failed'")
        await query(pool, "UPDATE musicgen_deletions SET due_at = now()")
        await deletions.finish_due(pool, files)
        assert _list_files(tmp_path) == [] and await _count_left(pool) == 0
        assert not await deletions.delete_job(pool, "one", run.id)

    with_pool(work)


def test_a_deletion_is_repeated_until_the_storage_answers(
    with_pool: WithPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(pool: Pool) -> None:
        files, is_away = JobFiles(tmp_path), True
        delete = files.delete_job

        def delete_or_fail(job_id: str) -> None:
            if is_away:
                raise BucketUnavailable("away")
            delete(job_id)

        monkeypatch.setattr(files, "delete_job", delete_or_fail)
        runs = [await _begin(pool, await _submit(pool)) for _ in range(25)]
        for run in runs:
            _write_files(tmp_path, run)
        assert await deletions.delete_all(pool, "one") == deletions.DeletedCounts(25, 0)
        await query(pool, "UPDATE procrastinate_jobs SET status = 'failed'")
        await deletions.finish_due(pool, files)
        assert await _count_left(pool) == 25
        is_away = False
        await query(pool, "UPDATE musicgen_deletions SET due_at = now()")
        await deletions.finish_due(pool, files)
        assert _list_files(tmp_path) == [] and await _count_left(pool) == 0

    with_pool(work)


def test_copies_on_another_machine_go(
    with_pool: WithPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "PAUSE_SECONDS", 0.01)

    async def work(pool: Pool) -> None:
        here, there = tmp_path / "here", tmp_path / "there"
        run = await _begin(pool, await _submit(pool))
        (there / "converted").mkdir(parents=True)
        copy = there / "converted" / f"{run.name}-1.mp3"
        await jobs.complete(pool, run, {"clips": []})
        await deletions.delete_job(pool, "one", run.id)
        await deletions.delete_files(pool, JobFiles(here), "job", run.id)
        task = asyncio.create_task(deletions.finish_deletions(pool, JobFiles(there)))
        # Twice: a conversion may end after the first round.
        for _ in range(2):
            copy.write_bytes(b"x")
            end = time.monotonic() + 20
            while copy.exists():
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_pool(work)


def test_an_upload_stays_while_a_job_needs_it(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        await uploads.reserve(pool, "abc", "one", 5, QUOTA)
        assert await uploads.list_uploads(pool, "one", 9, None) == [], "it is incomplete"
        await uploads.finish(pool, "abc", 7)
        [row] = await uploads.list_uploads(pool, "one", 9, None)
        assert (row["id"], row["bytes"]) == ("abc", 7)
        job_id = await _submit(pool, request={"input_audio": "upload:abc"})
        with pytest.raises(UploadInUse, match=job_id):
            await deletions.delete_upload(pool, "one", "abc")
        assert not await deletions.delete_upload(pool, "another", "abc")
        await jobs.cancel(pool, "one", job_id)
        assert await deletions.delete_upload(pool, "one", "abc")
        assert await uploads.list_uploads(pool, "one", 9, None) == []

    with_pool(work)


def test_the_sound_that_was_fetched_for_a_job_goes_with_it(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        await uploads.reserve(pool, "abc", "one", 5, QUOTA)
        job_id = await _submit(pool)
        await query(pool, "UPDATE musicgen_jobs SET fetched = 'abc'")
        await jobs.cancel(pool, "one", job_id)
        await deletions.delete_job(pool, "one", job_id)
        rows = await query(pool, "SELECT kind, id FROM musicgen_deletions ORDER BY kind")
        assert [(row["kind"], row["id"]) for row in rows] == [("job", job_id), ("upload", "abc")]

    with_pool(work)


def test_a_sound_within_a_call_goes_with_its_last_job(with_pool: WithPool) -> None:
    async def work(pool: Pool) -> None:
        for upload_id, is_inline in (("abc", True), ("def", False)):
            await uploads.reserve(pool, upload_id, "one", 5, QUOTA)
            await uploads.finish(pool, upload_id, 5, is_inline=is_inline)
        ids = [
            await _submit(pool, request={"input_audio": f"upload:{name}"})
            for name in ("abc", "abc", "def")
        ]
        for job_id in (ids[0], ids[2], ids[1]):
            await jobs.cancel(pool, "one", job_id)
            await deletions.delete_job(pool, "one", job_id)
            left = await uploads.list_uploads(pool, "one", 9, None)
            expected = ["def"] if job_id == ids[1] else ["abc", "def"]
            assert sorted(row["id"] for row in left) == expected
        assert not await uploads.finish(pool, "abc", 5), "it is deleted"

    with_pool(work)


def test_a_finished_job_is_deleted_and_a_running_one_is_cancelled(server: JobServer) -> None:
    job_id = server.submit(duration=300)
    path = f"/v1/jobs/{job_id}"
    server.until(job_id, lambda now: now["status"] == "running")
    assert server.http.delete(path).json()["status"] == "cancelled"
    assert server.status(job_id)["status"] == "cancelled"
    assert server.http.delete(path).status_code == 204
    done = server.submit(duration=0.3)
    server.ended(done)
    assert server.http.get(f"/audio/{done}.flac").status_code == 200
    assert server.http.post(f"/v1/jobs/{done}/cancel").json()["status"] == "completed"
    deleted = server.http.delete(f"/v1/jobs/{done}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert not list(server.folder.glob(f"*/{done}*"))
    for gone in (done, job_id):
        assert server.http.delete(f"/v1/jobs/{gone}").status_code == 404
        assert server.http.get(f"/status/{gone}").status_code == 404
        assert server.http.get(f"/audio/{gone}.wav").status_code == 404
    end = time.monotonic() + 30
    while list(server.folder.glob(f"*/{job_id}*")):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_clip_is_sent_whole_while_it_is_deleted(server: JobServer) -> None:
    job_id = server.submit(duration=120, prompt="long")
    size = server.ended(job_id)["result"]["clips"][0]["bytes"]
    with server.http.stream("GET", f"/audio/{job_id}.wav") as answer:
        pieces = answer.iter_bytes()
        received = len(next(pieces))
        assert server.http.delete(f"/v1/jobs/{job_id}").status_code == 204
        assert received + sum(map(len, pieces)) == size


def test_uploads_are_listed_and_deleted(server: JobServer) -> None:
    made = server.http.post("/v1/uploads", content=wav(0.5)).json()
    listed = server.http.get("/v1/uploads", params={"limit": 1}).json()
    assert listed["uploads"][0]["upload_id"] == made["upload_id"]
    path = f"/v1/uploads/{made['upload_id']}"
    assert server.http.delete(path).status_code == 204
    assert server.http.delete(path).status_code == 404
    assert not (server.folder / "uploads" / made["upload_id"]).exists()
    answer = server.http.post(
        "/generate",
        json={"prompt": "x", "input_audio": made["input_audio"], "continuation": True},
    )
    assert answer.status_code == 422


def test_all_of_a_caller_is_deleted(server: JobServer) -> None:
    running = server.submit(duration=300)
    server.ended(server.submit(duration=0.2))
    server.http.post("/v1/uploads", content=wav(0.5))
    for wrong in ({}, {"confirm": "yes"}):
        assert server.http.delete("/v1/jobs", params=wrong).status_code == 422
    answer = server.http.delete("/v1/jobs", params={"confirm": "everything"})
    assert answer.status_code == 202
    assert answer.json()["jobs"] >= 2 and answer.json()["uploads"] >= 1
    assert server.http.get("/v1/jobs").json() == {"jobs": [], "next": None}
    assert server.http.get("/v1/uploads").json() == {"uploads": [], "next": None}
    assert server.http.get(f"/status/{running}").status_code == 404
    folders = [server.folder / name for name in ("clips", "uploads", "converted", "growing")]
    end = time.monotonic() + 60
    while any(_list_files(folder) for folder in folders):
        assert time.monotonic() < end, [_list_files(folder) for folder in folders]
        time.sleep(0.2)
    assert server.ended(server.submit(duration=0.2))["status"] == "completed"
