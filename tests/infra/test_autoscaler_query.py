"""KEDA's query for the number of workers, run on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import yaml

from handlers.job_api.store.database import open_pool
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.schema import migrate
from tests.support import ROOT
from tests.support.job_server import data_folder

FILE = ROOT / "infra/k8s/base/worker-scaling.yaml"


def _read_query(file: Path = FILE) -> str:
    (scaler,) = (
        item for item in yaml.safe_load_all(file.read_text()) if item["kind"] == "ScaledObject"
    )
    [trigger] = scaler["spec"]["triggers"]
    return str(trigger["metadata"]["query"])


@pytest.fixture(scope="module")
def connection() -> Iterator[psycopg.Connection]:
    with data_folder() as folder, EmbeddedServer(folder) as server:

        async def make_tables() -> None:
            async with open_pool(server.url) as pool:
                await migrate(pool)

        asyncio.run(make_tables())
        with psycopg.connect(server.url, autocommit=True) as connection:
            yield connection


@pytest.mark.parametrize(
    ("jobs", "expected"),
    [
        ({}, 0),
        ({("queued", "local", False): 3, ("running", "local", False): 2}, 5),
        ({("completed", "local", False): 4, ("queued", "remote", False): 4}, 0),
        ({("queued", "local", True): 50}, 1),
        ({("queued", "local", True): 50, ("queued", "local", False): 9}, 9),
    ],
    ids=["none", "both states", "others", "fetching alone", "fetching beside others"],
)
def test_only_jobs_for_a_slot_ask_for_workers(
    connection: psycopg.Connection, jobs: dict[tuple[str, str, bool], int], expected: int
) -> None:
    """Fifty jobs of one slow web server asked for seven GPUs, which then waited for the server.
    Without any worker nobody would fetch, so one stays."""
    connection.execute("TRUNCATE musicgen_jobs")
    for kind, ((state, queue, fetches), count) in enumerate(jobs.items()):
        connection.execute(
            "INSERT INTO musicgen_jobs "
            "(id, owner, request, request_hash, queue, audio_seconds, state, fetches) "
            "SELECT %s || n, 'o', '{}', 'h', %s, 1, %s, %s FROM generate_series(1, %s) AS n",
            [f"{kind}-", queue, state, fetches, count],
        )
    row = connection.execute(_read_query().encode()).fetchone()
    assert row == (expected,)
