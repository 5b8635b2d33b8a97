"""Sounds from web addresses are fetched before their jobs take slots."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import psycopg
import pytest

from handlers.job_api.store import api_keys
from handlers.job_api.store.database import open_pool
from handlers.job_api.store.queue import FETCHES_PER_OWNER
from handlers.job_api.store.schema import migrate
from tests.support.clips import wav
from tests.support.job_server import (
    JobServer,
    data_folder,
    environment,
    job_server,
    start,
    stop,
    wait_until_ready,
)
from tests.support.silent_server import SilentServer
from tests.support.web_neighbour import LOOPBACK, Neighbour, web_neighbour

SETTINGS = {
    "MUSICGEN_SLOTS": 1,
    "MUSICGEN_INPUT_NETWORKS": LOOPBACK,
    "MUSICGEN_WORKER_TIMEOUT": 6,
    "MUSICGEN_RATE_LIMIT": "100000/minute",
    "MUSICGEN_API_AUTH": "on",
}
SOUND = wav(0.5)


@dataclass
class Site:
    """An API and its worker. `callers` have keys of their own."""

    api: JobServer
    database: str
    worker: subprocess.Popen[bytes]
    callers: list[JobServer]

    def start_worker(self) -> None:
        log = self.api.folder.with_name("worker.log")
        settings = SETTINGS | {"DATABASE_URL": self.database}
        self.worker = start("worker", environment(self.api.folder, **settings), log)
        wait_until_ready(self.api.http, self.api.process, log, 1)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchall()

    def uploads(self) -> tuple[int, int]:
        """Number of files, parts included, and of rows."""
        files = list((self.api.folder / "uploads").glob("*"))
        [(rows,)] = self.execute("SELECT count(*) FROM musicgen_uploads")
        assert isinstance(rows, int)
        return len(files), rows


async def _create_keys(url: str) -> list[str]:
    async with open_pool(url) as pool:
        await migrate(pool)
        scopes = frozenset(api_keys.SCOPES)
        return [(await api_keys.create(pool, name, scopes, None)).key for name in ("a", "b")]


@contextmanager
def _callers(api: JobServer, keys: list[str]) -> Iterator[list[JobServer]]:
    headers = [{"Authorization": f"Bearer {key}"} for key in keys]
    clients = [httpx.Client(base_url=api.url, headers=head, timeout=30) for head in headers]
    yield [JobServer(api.folder, api.url, api.process, client) for client in clients]
    for client in clients:
        client.close()


@pytest.fixture
def site(database: str) -> Iterator[Site]:
    keys = asyncio.run(_create_keys(database))
    with (
        data_folder(with_database=False) as folder,
        job_server(folder, "api", DATABASE_URL=database, **SETTINGS) as api,
        _callers(api, keys) as callers,
    ):
        running = Site(api, database, api.process, callers)
        running.start_worker()
        try:
            yield running
        finally:
            stop(running.worker)


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(SOUND) as known:
        yield known


def _submit(caller: JobServer, url: str) -> str:
    return caller.submit(input_audio=url, continuation=True, duration=1)


def test_slow_servers_delay_only_those_who_name_them(site: Site, neighbour: Neighbour) -> None:
    """One caller's slow URLs held every slot for a minute each."""
    silent, (one, other) = SilentServer(), site.callers
    slow = [_submit(one, silent.url) for _ in range(3 * FETCHES_PER_OWNER)]
    assert silent.wait_for(opened=FETCHES_PER_OWNER)
    began = time.monotonic()
    plain = other.ended(other.submit(), 20)
    fetched = other.ended(_submit(other, neighbour.url), 20)
    assert [plain["status"], fetched["status"]] == ["completed", "completed"], fetched
    assert time.monotonic() - began < 20
    assert fetched["request"]["input_audio"] == neighbour.url
    statuses = [one.status(job_id) for job_id in slow]
    assert {status["status"] for status in statuses} == {"queued"}
    assert silent.opened == FETCHES_PER_OWNER
    # A job that waits for its sound keeps nobody else waiting.
    waiting = other.submit(duration=0.5)
    assert (other.status(waiting)["position"] or 1) == 1
    other.ended(waiting)
    # The last ones first: they wait, and would take the place of one that ends.
    for job_id in reversed(slow):
        assert one.http.delete(f"/v1/jobs/{job_id}").json()["status"] == "cancelled"
    assert silent.wait_for(closed=FETCHES_PER_OWNER, seconds=3)
    assert one.ended(_submit(one, neighbour.url), 20)["status"] == "completed"
    assert silent.opened == FETCHES_PER_OWNER
    end = time.monotonic() + 5
    while site.uploads() != (0, 0):
        assert time.monotonic() < end, site.uploads()
        time.sleep(0.05)


def test_a_failed_fetch_fails_the_job_and_leaves_nothing(site: Site, neighbour: Neighbour) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        unreachable = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    neighbour.redirect = "http://169.254.169.254/latest"
    codes = {
        unreachable: "input_audio_unreachable",
        f"{neighbour.url}/redirect": "input_audio_refused",
        "http://192.168.0.1/x": "input_audio_refused",
    }
    caller = site.callers[0]
    made = {_submit(caller, url): code for url, code in codes.items()}
    for job_id, code in made.items():
        status = caller.ended(job_id, 30)
        assert status["status"] == "failed"
        assert (status["error"]["code"], status["error"]["field"]) == (code, "input_audio")
        assert status["attempt"] == 0
    assert site.uploads() == (0, 0)


def test_a_full_quota_of_uploads_fails_the_job(site: Site, neighbour: Neighbour) -> None:
    statement = "INSERT INTO musicgen_uploads (id, owner, bytes) SELECT id, %s, 10^10 RETURNING id"
    [(owner,)] = site.execute("SELECT prefix FROM musicgen_keys WHERE name = 'a'")
    site.execute(statement.replace("id, %s", f"'full', '{owner}'"))
    status = site.callers[0].ended(_submit(site.callers[0], neighbour.url), 20)
    assert status["error"]["code"] == "too_many_uploads", status
    assert site.uploads() == (0, 1)


def test_a_killed_worker_s_fetch_is_made_by_the_next(site: Site) -> None:
    silent, caller = SilentServer(), site.callers[0]
    made, dropped = _submit(caller, silent.url), _submit(caller, silent.url)
    assert silent.wait_for(opened=2)
    site.worker.kill()
    site.worker.wait()
    caller.http.delete(f"/v1/jobs/{dropped}")
    silent.sound = SOUND
    site.start_worker()
    assert caller.ended(made, 40)["status"] == "completed"
    assert caller.status(dropped)["status"] == "cancelled"
    # The lock of the cancelled job's fetch is free again.
    held = "SELECT id FROM procrastinate_jobs WHERE status = 'doing' AND queue_name = 'fetch'"
    end = time.monotonic() + 20
    while site.execute(held):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_recovered_fetch_ends_with_its_job(site: Site) -> None:
    """It takes a slot, so that its attempts are counted. A cancelled job held it for a minute."""
    silent, (one, other) = SilentServer(), site.callers
    slow = _submit(one, silent.url)
    assert silent.wait_for(opened=1)
    site.worker.kill()
    site.worker.wait()
    site.start_worker()
    assert silent.wait_for(opened=2)
    assert one.status(slow)["status"] == "running"
    waiting = other.submit()
    assert one.http.delete(f"/v1/jobs/{slow}").json()["status"] == "cancelled"
    assert silent.wait_for(closed=2, seconds=5)
    assert other.ended(waiting, 20)["status"] == "completed"


def test_a_stopping_worker_leaves_its_fetches_to_the_next(site: Site) -> None:
    silent, caller = SilentServer(), site.callers[0]
    job_id = _submit(caller, silent.url)
    assert silent.wait_for(opened=1)
    began = time.monotonic()
    assert stop(site.worker) == 0
    assert time.monotonic() - began < 10
    assert caller.status(job_id)["status"] == "queued"
    silent.sound = SOUND
    site.start_worker()
    status = caller.ended(job_id, 30)
    assert (status["status"], status["attempt"]) == ("completed", 1)
    assert silent.opened == 2
