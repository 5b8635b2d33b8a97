"""Every stored sound has a row, a quota and an end; a refused one leaves nothing."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from handlers.job_api.store import jobs, queue, retention
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.files import JobFiles
from tests.support.clips import wav
from tests.support.job_server import JobServer, data_folder, job_server

SOUND = base64.b64encode(wav(0.5)).decode()
CALL = {"prompt": "x", "continuation": True, "input_audio": SOUND}
HOUR = 3600


@contextmanager
def api(database: str, **settings: object) -> Iterator[JobServer]:
    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", DATABASE_URL=database, **settings) as server,
    ):
        yield server


def stored(server: JobServer, database: str) -> tuple[list[str], list[str]]:
    """The files of uploads, and the ids of their rows."""
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT id FROM musicgen_uploads ORDER BY id").fetchall()
    files = sorted(path.name for path in (server.folder / "uploads").glob("*"))
    return files, [row[0] for row in rows]


def test_a_sound_within_a_call_has_a_row_unless_the_call_is_refused(database: str) -> None:
    """It was kept for ever: by accepted calls, refused ones and each repetition."""
    with api(database, MUSICGEN_JOBS_PER_KEY=1) as server:
        once = {"Idempotency-Key": "once"}
        private = CALL | {"webhook_url": "http://127.0.0.1/hook"}
        assert server.http.post("/generate", json=private).status_code == 422
        assert stored(server, database) == ([], [])
        first = server.http.post("/generate", json=CALL, headers=once).json()["job_id"]
        files, rows = stored(server, database)
        assert files == rows and len(rows) == 1
        assert server.status(first)["request"]["input_audio"] == f"upload:{rows[0]}"
        again = server.http.post("/generate", json=CALL, headers=once)
        assert again.json()["job_id"] == first
        other = server.http.post("/generate", json=CALL | {"seed": 1}, headers=once)
        assert other.status_code == 409
        assert server.http.post("/generate", json=CALL).status_code == 429
        assert stored(server, database) == (files, rows)
    with api(database, MUSICGEN_QUEUE_MAX=1) as server:
        assert server.http.post("/generate", json=CALL).status_code == 503
        assert stored(server, database) == ([], rows)


def test_uploads_have_a_quota(database: str) -> None:
    """One caller could fill the disk that the database lies on."""
    with api(database, MUSICGEN_UPLOADS_PER_KEY=2, MUSICGEN_UPLOAD_MB_PER_KEY=1) as server:
        assert server.http.post("/v1/uploads", content=wav(1)).status_code == 201
        assert server.http.post("/v1/uploads", content=b"no sound").status_code == 422
        answer = server.http.post("/v1/uploads", content=bytes(1_000_000))
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_uploads")
        assert "2 files or 1 MB" in answer.json()["error"]["message"]
        assert 0 < int(answer.headers["retry-after"]) <= 24 * HOUR
        assert server.http.post("/generate", json=CALL).status_code == 202
        answer = server.http.post("/generate", json=CALL)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "too_many_uploads")
        files, rows = stored(server, database)
        assert files == rows and len(rows) == 2


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A disk of 1 MB."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_as_such_and_nothing_is_left(database: str) -> None:
    """It was an internal error."""
    with (
        data_folder(with_database=False) as folder,
        small_disk(folder / "uploads"),
        job_server(
            folder, "api", DATABASE_URL=database, MUSICGEN_DISK_RESERVE_MB=0
        ) as server,
    ):  # fmt: skip
        large = wav(30)
        calls: list[dict[str, Any]] = [
            {"url": "/v1/uploads", "content": iter([large])},
            {"url": "/v1/uploads", "content": large},
            {"url": "/generate", "json": CALL | {"input_audio": base64.b64encode(large).decode()}},
        ]
        for call in calls:
            answer = server.http.post(**call)
            assert (answer.status_code, answer.json()["error"]["code"]) == (507, "disk_full")
            assert str(folder) not in answer.text
            assert stored(server, database) == ([], [])
        assert server.http.post("/v1/uploads", content=wav(1)).status_code == 201


def test_uploads_leave_room_for_the_database(database: str) -> None:
    with api(database, MUSICGEN_DISK_RESERVE_MB=10**9) as server:
        assert server.http.post("/v1/uploads", content=wav(1)).status_code == 507
        assert server.http.post("/generate", json=CALL).status_code == 507
        assert stored(server, database) == ([], [])


def test_what_a_killed_process_left_is_swept_at_the_start(database: str) -> None:
    with data_folder(with_database=False) as folder:
        uploads = folder / "uploads"
        uploads.mkdir(parents=True)
        ages = {".old.tmp": HOUR, ".new.tmp": 60, "unknown": 25 * HOUR, "young": HOUR}
        for name, age in ages.items():
            (uploads / name).write_bytes(b"x")
            os.utime(uploads / name, (time.time() - age,) * 2)
        with job_server(folder, "api", DATABASE_URL=database) as server:
            end = time.monotonic() + 10
            while (files := stored(server, database)[0]) != [".new.tmp", "young"]:
                assert time.monotonic() < end, files
                time.sleep(0.05)


def test_an_upload_lives_as_long_as_its_unfinished_job(
    with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any], tmp_path: Path
) -> None:
    """A queue of more than a day took the sounds of its own jobs."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        for name in ("used", "done", "unused"):
            await query(
                pool,
                "INSERT INTO musicgen_uploads (id, owner, bytes, created_at) "
                "VALUES (%s, 'me', 1, now() - interval '2 hours')",
                name,
            )
        limits = jobs.JobLimits(10, 10)
        for name in ("used", "done"):
            new = jobs.NewJob("me", {"input_audio": f"upload:{name}"}, "hash", 1.0)
            job_id = await jobs.submit(pool, app, new, limits, queue.LOCAL)
        await jobs.cancel(pool, "me", job_id)
        await retention.delete_expired(pool, JobFiles(tmp_path), 1, 1)
        assert await query(pool, "SELECT id FROM musicgen_uploads") == [{"id": "used"}]

    with_pool(work)
