"""The same conversion is made once, however often it is asked for at once."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from handlers.job_api.api import conversions
from handlers.job_api.api.conversions import Conversions
from handlers.job_api.errors import ServerBusy
from tests.support.job_server import JobServer


class Work:
    """Conversions that take a moment; `made` are their names, `most` the number at once."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.running = self.most = 0
        self._lock = threading.Lock()

    def convert(self, name: str) -> Path:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(0.1)
        with self._lock:
            self.running -= 1
            self.made.append(name)
        return Path(name)


def test_equal_conversions_are_one_and_others_wait() -> None:
    async def run() -> None:
        work, made = Work(), Conversions()
        names = ["a", "b", "c"] * 20
        paths = await asyncio.gather(
            *(made.run(name, "me", lambda name=name: work.convert(name)) for name in names)
        )
        assert [path.name for path in paths] == names
        assert sorted(work.made) == ["a", "b", "c"] and work.most == conversions.AT_ONCE
        await made.run("a", "me", lambda: work.convert("a"))
        assert len(work.made) == 4

    asyncio.run(run())


def test_a_caller_that_leaves_does_not_end_the_conversion_of_others() -> None:
    async def run() -> None:
        work, made = Work(), Conversions()
        first = asyncio.create_task(made.run("a", "me", lambda: work.convert("a")))
        await asyncio.sleep(0)
        second = asyncio.create_task(made.run("a", "me", lambda: work.convert("a")))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == Path("a") and work.made == ["a"]

    asyncio.run(run())


def test_an_error_reaches_all_callers_and_is_forgotten() -> None:
    async def run() -> None:
        made = Conversions()

        def fail() -> Path:
            time.sleep(0.05)
            raise ValueError("damaged")

        errors = await asyncio.gather(
            *(made.run("a", "me", fail) for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in errors] == [ValueError] * 3
        assert await made.run("a", "me", lambda: Path("whole")) == Path("whole")

    asyncio.run(run())


def test_who_waits_too_long_is_told_when_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversions, "SECONDS_MAX", 0.05)

    async def run() -> None:
        work, made = Work(), Conversions()
        results = await asyncio.gather(
            *(made.run(name, "me", lambda name=name: work.convert(name)) for name in "abcd"),
            return_exceptions=True,
        )
        busy = [error for error in results if isinstance(error, ServerBusy)]
        assert len(busy) == 2 and all(error.retry_after for error in busy)

    asyncio.run(run())


def test_twenty_callers_of_one_conversion_get_one_file(server: JobServer) -> None:
    """It was made twenty times at once."""
    status = server.ended(server.submit(duration=20))
    url = status["audio_url"].replace(".wav", ".opus")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: server.http.get(url), range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1
