"""Two hundred waiting callers, slow ones among them, cost neither threads nor memory that stays."""

from __future__ import annotations

import asyncio

import pytest

from bench.waiting_callers import SETTINGS, measure
from tests.support.job_server import data_folder, job_server

ROUNDS = 3


@pytest.mark.slow
def test_a_crowd_of_slow_readers_leaves_nothing_behind() -> None:
    with data_folder() as folder, job_server(folder, **SETTINGS) as server:
        figures = asyncio.run(measure(server, callers=200, seconds=10.0, rounds=ROUNDS))
        assert "Traceback" not in server.log
    first, *_, last = figures["after"]
    # The pools of threads for files have a fixed size, far below the number of callers.
    assert figures["peak"]["threads"] < 80
    assert last["files"] <= first["files"] + 5
    assert last["bytes"] < first["bytes"] + 15e6
    # A megabyte for each caller would hold a whole clip.
    assert figures["peak"]["bytes"] - figures["before"]["bytes"] < 120e6
