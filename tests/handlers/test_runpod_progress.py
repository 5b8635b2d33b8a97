"""Progress updates of a RunPod job: how often, and what a failing one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

import pytest

from handlers import runpod_progress
from handlers.runpod_progress import ProgressPosts, format_progress
from musicgen.result import Progress


class _Clock:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Iterator[_Clock]:
    yield _Clock()


def _post_steps(
    steps: list[tuple[float, int]], clock: _Clock, post: Callable[[str], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with ProgressPosts(post, clock) as posts:
            for clock.time, done in steps:
                posts.update(Progress(done, 100))
                await asyncio.sleep(0)

    asyncio.run(main())


def test_updates_are_a_second_and_a_twentieth_apart_and_never_the_last(clock: _Clock) -> None:
    sent: list[str] = []

    async def post(text: str) -> None:
        sent.append(text.partition("%")[0])

    steps = [(0.5, 20), (1.0, 21), (1.9, 60), (2.0, 25), (2.1, 26), (9.0, 70), (20.0, 100)]
    _post_steps(steps, clock, post)
    assert sent == ["21", "26", "70"]
    assert format_progress(Progress(180, 400)) == "45% (180/400 steps decoded)"


def test_one_update_is_under_way_at_a_time_and_is_waited_for(clock: _Clock) -> None:
    events: list[str] = []

    async def post(text: str) -> None:
        events.append("begun")
        await asyncio.sleep(0.05)
        events.append("answered")

    _post_steps([(2.0, 20), (4.0, 40), (6.0, 60)], clock, post)
    assert events == ["begun", "answered"]


def test_a_result_does_not_wait_for_ever_for_an_update(
    clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runpod_progress, "LAST_POST_SECONDS", 0.01)
    events: list[str] = []

    async def post(text: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            events.append("stopped")

    _post_steps([(2.0, 20)], clock, post)
    assert events == ["stopped"]


def test_an_update_that_fails_is_logged_and_no_more(
    clock: _Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def post(text: str) -> None:
        raise TimeoutError("no answer")

    with caplog.at_level(logging.WARNING):
        _post_steps([(2.0, 20), (4.0, 40)], clock, post)
    assert caplog.text.count("a progress update could not be posted") == 2
