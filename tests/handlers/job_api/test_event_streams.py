"""Streams of events: one query for each change, and a limit for each caller."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from handlers.job_api.api.status_feeds import StatusFeeds
from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.notifications import JobNotifications
from tests.support.job_server import JobServer, job_server

WithPool = Callable[[Callable[[Pool], Awaitable[Any]]], Any]
LISTENERS, CHANGES = 500, 10


async def _submit(pool: Pool) -> str:
    app = await queue.open_queue(pool)
    new = jobs.NewJob("me", {"prompt": "x"}, "hash", 1.0)
    return await jobs.submit(pool, app, new, jobs.JobLimits(10, 10), queue.LOCAL)


def test_each_change_is_read_once_for_all_listeners(with_pool: WithPool, database: str) -> None:
    """Each of 500 listeners asked the database at each change: /status took 1.5 s."""

    async def work(pool: Pool) -> None:
        job_id = await _submit(pool)
        reads = 0

        async def read(name: str) -> dict[str, Any] | None:
            nonlocal reads
            reads += 1
            return await jobs.get(pool, name)

        notifications = JobNotifications(database)
        feeds = StatusFeeds(notifications, read)
        seen = [0.0] * LISTENERS

        async def listen(number: int) -> None:
            async with feeds.follow(job_id) as (feed, changed):
                while seen[number] < 1:
                    changed.clear()
                    if feed.current is not None:
                        seen[number] = feed.current["progress"]
                    if seen[number] < 1:
                        await asyncio.wait_for(changed.wait(), 30)

        async with notifications.run():
            listeners = [asyncio.create_task(listen(n)) for n in range(LISTENERS)]
            for step in range(1, CHANGES + 1):
                await asyncio.sleep(0.05)
                statement = "UPDATE musicgen_jobs SET progress = %s WHERE id = %s"
                await query(pool, statement, step / CHANGES, job_id)
            await asyncio.gather(*listeners)
        assert seen == [1.0] * LISTENERS
        # One at the start, one when the database is listened to, and one for each change.
        assert reads <= CHANGES + 2
        assert not feeds._feeds

    with_pool(work)


def test_a_deleted_job_ends_its_feed(with_pool: WithPool, database: str) -> None:
    async def work(pool: Pool) -> None:
        notifications = JobNotifications(database)
        feeds = StatusFeeds(notifications, lambda name: jobs.get(pool, name))
        async with feeds.follow("0" * 32) as (feed, changed):
            await asyncio.wait_for(changed.wait(), 10)
            assert feed.is_over and feed.current is None

    with_pool(work)


def test_a_database_that_fails_ends_the_feed(database: str) -> None:
    async def fail(name: str) -> None:
        raise ConnectionError

    async def run() -> None:
        feeds = StatusFeeds(JobNotifications(database), fail)
        async with feeds.follow("x") as (feed, changed):
            await asyncio.wait_for(changed.wait(), 10)
            assert feed.is_over

    asyncio.run(run())


@pytest.fixture
def api(data: Path) -> Any:
    settings = {"MUSICGEN_STREAMS_PER_KEY": 3, "MUSICGEN_BODY_SECONDS": 1}
    with job_server(data, "api", **settings) as running:
        yield running


def test_a_caller_has_a_number_of_streams(api: JobServer) -> None:
    path = f"/v1/jobs/{api.submit()}/events"
    opened = []
    with ExitStack() as stack:
        for _ in range(3):
            answer = stack.enter_context(api.http.stream("GET", path))
            lines = answer.iter_lines()
            # An iterator that is forgotten closes its stream.
            opened.append(lines)
            assert next(lines) == "event: status"
            assert json.loads(next(lines).removeprefix("data: "))["status"] == "queued"
        with api.http.stream("GET", path) as refused:
            assert refused.status_code == 429 and refused.headers["retry-after"]
            assert refused.read() and refused.json()["error"]["code"] == "too_many_streams"
    # Closed connections free their places.
    for _ in range(100):
        with api.http.stream("GET", path) as answer:
            if answer.status_code == 200:
                return
    raise AssertionError("the places of closed streams stay taken")


def test_an_unfinished_body_does_not_end_a_stream(api: JobServer) -> None:
    """The limit of time for a body cut the stream, with a traceback in the log."""
    job_id, address = api.submit(), urlsplit(api.url)
    head = f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: {address.netloc}\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0), 10) as caller:
        caller.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n".encode())
        answer = caller.makefile("rb")
        while b"queued" not in answer.readline():
            pass
        time.sleep(1.5)
        caller.sendall(b"1\r\nx\r\n")
        assert api.http.delete(f"/v1/jobs/{job_id}").status_code == 200
        while line := answer.readline():
            if b"cancelled" in line:
                break
        assert line, "the stream ended early"
    assert "Traceback" not in api.log
