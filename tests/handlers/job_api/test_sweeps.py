"""What dead processes leave behind goes, and what the living have stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.life_lock import LifeLock
from handlers.job_api.store.maintenance import maintain
from handlers.job_api.store.postgres_folder import shorten_socket_path
from musicgen.settings.job_api import ApiSettings

WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]
LIMITS = jobs.JobLimits(queue_max=100, jobs_per_key=100)
_WORKER = (
    "INSERT INTO musicgen_workers (name, slots, makes, models, seen_at) "
    "VALUES (%s, 1, 'local', '{}', now() - make_interval(secs => %s))"
)
_QUEUE_WORKER = (
    "INSERT INTO procrastinate_workers (last_heartbeat) "
    "VALUES (now() - make_interval(secs => %s)) RETURNING id"
)
_START = "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s WHERE id = %s"


def test_rows_and_tasks_of_dead_workers_go(with_pool: WithPool, tmp_path: Path) -> None:
    """With a new name at each start, rows of a crashing worker would pile up."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        for name, age in (("dead", 3600), ("silent", 60), ("alive", 0)):
            await query(pool, _WORKER, name, age)
        (dead,), (alive,) = [await query(pool, _QUEUE_WORKER, age) for age in (3600, 0)]
        running, left = [await _submit(pool, app) for _ in range(2)]
        await query(pool, _START, alive["id"], running)
        await query(pool, _START, dead["id"], left)
        # The job has another run by now.
        await query(pool, "UPDATE musicgen_jobs SET queue_id = -1 WHERE queue_id = %s", left)
        settings = ApiSettings(data_dir=tmp_path, worker_timeout=15)
        for _ in range(2):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(maintain(pool, app, JobFiles(tmp_path), settings), 1)
        names = await query(pool, "SELECT name FROM musicgen_workers ORDER BY name")
        assert [row["name"] for row in names] == ["alive", "silent"]
        assert await query(pool, "SELECT id FROM procrastinate_workers") == [alive]
        tasks = await query(pool, "SELECT id, status FROM procrastinate_jobs WHERE id < 3")
        assert [(row["id"], row["status"]) for row in tasks] == [(running, "doing")]

    with_pool(work)


async def _submit(pool: Pool, app: Any) -> int:
    new = jobs.NewJob("one", {"prompt": "x"}, "h", 1.0)
    job_id = await jobs.submit(pool, app, new, LIMITS, queue.LOCAL)
    row = await jobs.get(pool, job_id)
    assert row is not None
    return int(row["queue_id"])


def test_unfinished_clips_of_killed_workers_go(tmp_path: Path) -> None:
    run = tmp_path / "clips" / f"{'a' * 32}-1"
    run.mkdir(parents=True)
    old, new, clip = run / ".old.tmp", run / ".new.tmp", run / "clip.wav"
    probe = run.with_name(".probe.tmp")
    for path in (old, new, clip, probe):
        path.write_bytes(b"RIFF")
    for path in (old, clip, probe):
        os.utime(path, (time.time() - 90_000,) * 2)
    JobFiles(tmp_path).delete_abandoned(set())
    assert {path for path in (old, new, clip, probe) if path.exists()} == {new, clip}


def test_old_locks_go_unless_they_are_held(with_pool: WithPool, tmp_path: Path) -> None:
    lock = LifeLock(tmp_path, "alive")
    for name in ("elsewhere", ".half", "recent"):
        (tmp_path / "workers" / name).write_text("another kernel")
    for name in ("alive", "elsewhere", ".half"):
        os.utime(tmp_path / "workers" / name, (time.time() - 90_000,) * 2)

    async def work(pool: Pool) -> None:
        app, settings = await queue.open_queue(pool), ApiSettings(data_dir=tmp_path)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(maintain(pool, app, JobFiles(tmp_path), settings), 1)

    with_pool(work)
    assert sorted(path.name for path in (tmp_path / "workers").iterdir()) == ["alive", "recent"]
    lock.release()


def test_links_to_deleted_folders_go(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    first = shorten_socket_path(deep / "socket").parent
    assert first.parent == Path(tempfile.gettempdir()) / f"musicgen-{os.getuid()}"
    assert first.resolve() == deep
    deep.rmdir()
    other = tmp_path / ("y" * 100)
    other.mkdir()
    second = shorten_socket_path(other / "socket").parent
    assert second.is_symlink() and not first.is_symlink()
    second.unlink()
