"""One database for the tests of each process, and one whole server for those that need it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest

from handlers.job_api.store.database import Pool, open_pool
from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.schema import migrate
from tests.support.job_server import JobServer, data_folder, job_server

T = TypeVar("T")


@pytest.fixture
def data() -> Iterator[Path]:
    with data_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of an embedded server, of this process's tests."""
    with data_folder() as folder, EmbeddedServer(folder) as database:
        yield database.url


@pytest.fixture
def database(postgres: str) -> Iterator[str]:
    """An empty database with our tables."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS one_test WITH (FORCE)")
        connection.execute("CREATE DATABASE one_test")
    yield postgres.replace("/postgres?", "/one_test?")


@pytest.fixture
def with_pool(database: str) -> Callable[[Callable[[Pool], Awaitable[Any]]], Any]:
    """`with_pool(work)` runs an async function with connections to the empty database."""

    def run(work: Callable[[Pool], Awaitable[T]]) -> T:
        async def connect_and_work() -> T:
            async with open_pool(database) as pool:
                await migrate(pool)
                return await work(pool)

        return asyncio.run(connect_and_work())

    return run


@pytest.fixture(scope="session")
def server() -> Iterator[JobServer]:
    """`musicgen serve all` with the demo model."""
    # Tests ask more often than people.
    settings = {
        "MUSICGEN_SLOTS": 2,
        "MUSICGEN_MODELS_KEPT": 2,
        "MUSICGEN_RATE_LIMIT": "100000/minute",
    }
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running
