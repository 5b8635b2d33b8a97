"""Readiness of the API while its database is away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from handlers.job_api.api.routes_service import READY_SECONDS
from handlers.job_api.store.database import open_pool
from handlers.job_api.store.queue_load import QueueLoadMeter
from handlers.job_api.store.schema import migrate
from tests.support.job_server import job_server


@contextmanager
def _no_connections(postgres: str) -> Iterator[None]:
    """Refuse and end all connections to the database of this test."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("ALTER DATABASE one_test ALLOW_CONNECTIONS false")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'one_test'"
        )
        try:
            yield
        finally:
            connection.execute("ALTER DATABASE one_test ALLOW_CONNECTIONS true")


def test_a_lost_database_takes_no_process_out_of_service(
    tmp_path: Path, postgres: str, database: str
) -> None:
    """All API pods left their Service at once, so no call could wait for the database."""
    with job_server(tmp_path / "data", "api", DATABASE_URL=database) as server:
        with _no_connections(postgres):
            time.sleep(1.2)  # the load of the queue is cached for a second
            answer = server.http.get("/readyz")
            assert (answer.status_code, answer.json()["status"]) == (200, "no database")
        end = time.monotonic() + 20
        while (status := server.http.get("/readyz").json()["status"]) != "ok":
            assert time.monotonic() < end, status
            time.sleep(0.2)


def test_a_process_is_not_ready_before_its_first_answer_and_after_a_long_silence(
    database: str,
) -> None:
    """A rollout with a wrong address must not replace the pods with a right one."""

    async def measure() -> tuple[float, float, float]:
        async with open_pool(database) as pool:
            await migrate(pool)
            meter = QueueLoadMeter(pool)
            before = meter.silence_seconds
            await meter.read()
            first = meter.silence_seconds
            await asyncio.sleep(0.2)
            return before, first, meter.silence_seconds

    before, first, later = asyncio.run(measure())
    assert before > READY_SECONDS
    assert first < 0.2 <= later
