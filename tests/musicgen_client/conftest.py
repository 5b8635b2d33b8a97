"""Servers for the client: one with the demo model, and one with keys and without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from handlers.job_api.store.api_keys import SCOPES
from tests.support.job_server import JobServer, create_key, data_folder, job_server


@dataclass
class GuardedServer:
    """A server that asks for keys, and a new key for each test."""

    server: JobServer

    def create_key(self, name: str, *scopes: str) -> str:
        return create_key(self.server, name, *(scopes or SCOPES))


@pytest.fixture(scope="session")
def server() -> Iterator[JobServer]:
    """`musicgen serve all` with the demo model."""
    settings = {"MUSICGEN_SLOTS": 2, "MUSICGEN_RATE_LIMIT": "100000/minute"}
    with data_folder() as folder, job_server(folder, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def guarded() -> Iterator[GuardedServer]:
    """Without a worker: jobs wait."""
    settings = {
        "MUSICGEN_API_AUTH": "on",
        "MUSICGEN_RATE_LIMIT": "20/second",
        "MUSICGEN_JOBS_PER_KEY": 2,
        "MUSICGEN_QUEUE_MAX": 5,
    }
    with data_folder() as folder, job_server(folder, "api", **settings) as running:
        yield GuardedServer(running)
