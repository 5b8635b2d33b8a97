"""A cancelled query stays cancelled, also where its answer arrives at the same moment.

Until 3.3.5, psycopg waited with `asyncio.wait_for`. On Python 3.11 that returns the answer then,
and the cancellation is lost: a loop of the API went on for ever, and so did its shutdown.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from typing import Any

import pytest

TURNS = 6


def _read_once() -> Generator[Any, Any, str]:
    from psycopg.waiting import WAIT_R

    while not (yield WAIT_R):
        pass
    return "rows"


async def _cancel(turns: int) -> bool | None:
    """Return whether a cancellation held `turns` after the answer, or None if it came too late."""
    from psycopg.waiting import wait_async

    ours, server = socket.socketpair()
    with ours, server:
        ours.setblocking(False)
        task = asyncio.create_task(wait_async(_read_once(), ours.fileno(), 0.1))
        for _ in range(TURNS):
            await asyncio.sleep(0)
        server.send(b"x")
        for _ in range(turns):
            await asyncio.sleep(0)
        if task.done():
            return None
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()


def test_no_cancellation_is_lost() -> None:
    pytest.importorskip("psycopg")
    held = [asyncio.run(_cancel(turns)) for turns in range(TURNS)]
    assert held[0] is True and False not in held
