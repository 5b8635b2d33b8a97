"""The ledger: reservations never pass the cap, whoever makes them, and nothing is counted twice."""

from __future__ import annotations

import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.database import Pool
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.spending import SqlLedger
from handlers.job_api.worker.outcome import MOVED
from handlers.job_api.worker.remote_executor import RemoteExecutor
from tests.support.elsewhere import Elsewhere

MONTH = "2026-01"
AMOUNTS = st.decimals(0, 10, places=6)
_MONTHS = count()


@pytest.fixture
def url(database: str, with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any]) -> str:
    """The address of a database with our tables, and nothing spent."""

    async def create_tables_only(_: Pool) -> None:
        pass

    with_pool(create_tables_only)
    return database


@pytest.fixture
def ledger(url: str) -> SqlLedger:
    return SqlLedger(url)


@settings(
    max_examples=60,
    deadline=None,
    # The table is shared by all examples; each has a month of its own.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    cap=AMOUNTS,
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "give back"]), AMOUNTS, st.integers(0, 99)),
        max_size=20,
    ),
)
def test_any_order_of_steps_is_counted_to_the_millionth(
    ledger: SqlLedger, cap: Decimal, steps: list[tuple[str, Decimal, int]]
) -> None:
    month = f"month {next(_MONTHS)}"
    reservations: list[Decimal] = []
    settled = Decimal(0)
    for step, amount, which in steps:
        before = settled + sum(reservations, Decimal(0))
        if step == "reserve":
            is_reserved = ledger.reserve(month, amount, cap)
            assert is_reserved == (before + amount <= cap)
            reservations += [amount] if is_reserved else []
        elif reservations:
            reserved = reservations.pop(which % len(reservations))
            cost = Decimal(0) if step == "give back" else min(amount, reserved)
            ledger.settle(month, reserved, cost)
            settled += cost
        counted = ledger.read_spent(month)
        assert counted == settled + sum(reservations, Decimal(0)) <= cap


def test_threads_never_pass_the_cap(ledger: SqlLedger) -> None:
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: ledger.reserve(MONTH, Decimal("0.3"), Decimal(5)), range(40)))
    assert sum(got) == 16
    assert ledger.read_spent(MONTH) == Decimal("4.8")


def _spend(url: str) -> int:
    """Reserves 20 times, and gives every second one back."""
    ledger, kept = SqlLedger(url), 0
    for index in range(20):
        if ledger.reserve(MONTH, Decimal("0.1"), Decimal(3)):
            kept += 1
            if index % 2:
                ledger.settle(MONTH, Decimal("0.1"), Decimal(0))
                kept -= 1
        assert ledger.read_spent(MONTH) <= 3
    return kept


def test_processes_never_pass_the_cap_and_lose_nothing(url: str, ledger: SqlLedger) -> None:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        kept = sum(pool.map(_spend, [url] * 4))
    assert ledger.read_spent(MONTH) == kept * Decimal("0.1") <= 3
    # Whoever was refused saw at most three that the others were about to give back.
    assert kept >= 27


def test_what_is_given_back_can_be_reserved_again(ledger: SqlLedger) -> None:
    for _ in range(5):
        assert ledger.reserve(MONTH, Decimal(1), Decimal(1))
        assert not ledger.reserve(MONTH, Decimal("0.000001"), Decimal(1))
        ledger.settle(MONTH, Decimal(1), Decimal(0))
    assert ledger.read_spent(MONTH) == 0


def test_months_are_counted_apart(ledger: SqlLedger) -> None:
    """A reservation of the last minute of a month is settled in that month."""
    assert ledger.reserve("2026-01", Decimal(1), Decimal(1))
    assert ledger.reserve("2026-02", Decimal(1), Decimal(1))
    ledger.settle("2026-01", Decimal(1), Decimal("0.25"))
    spent = (ledger.read_spent("2026-01"), ledger.read_spent("2026-02"))
    assert spent == (Decimal("0.25"), Decimal(1))


def test_a_cost_above_its_estimate_counts_in_full(ledger: SqlLedger) -> None:
    assert ledger.reserve(MONTH, Decimal(1), Decimal(2))
    ledger.settle(MONTH, Decimal(1), Decimal("1.5"))
    assert not ledger.reserve(MONTH, Decimal(1), Decimal(2))


def test_without_a_cap_everything_is_counted(ledger: SqlLedger) -> None:
    assert ledger.reserve(MONTH, Decimal(10**6), None)
    assert ledger.read_spent(MONTH) == 10**6


def test_a_database_that_cannot_count_lets_nothing_be_spent(database: str) -> None:
    """Without its table, and where nobody answers."""
    for url in (database, "postgresql://127.0.0.1:9/none"):
        with pytest.raises(psycopg.Error):
            SqlLedger(url).reserve(MONTH, Decimal(1), Decimal(100))


def test_a_ledger_out_of_reach_fails_no_job(
    with_pool: Callable[[Callable[[Pool], Awaitable[Any]]], Any], tmp_path: Path
) -> None:
    """A database that restarted at that moment was taken for the platform's refusal."""

    async def work(pool: Pool) -> None:
        app = await queue.open_queue(pool)
        new = jobs.NewJob("me", {"prompt": "x"}, "hash", 1.0)
        job_id = await jobs.submit(pool, app, new, jobs.JobLimits(10, 10), queue.REMOTE)
        row = await jobs.get(pool, job_id)
        assert row is not None
        run = await jobs.begin(pool, job_id, row["queue_id"], "relay")
        assert run is not None
        hybrid = Elsewhere().hybrid("runpod", "ep1")
        hybrid.ledger = SqlLedger("postgresql://127.0.0.1:9/none")
        files = JobFiles(tmp_path)
        executor = RemoteExecutor(hybrid, pool, app, files, files.storage, attempts=3)
        assert await executor.execute(run) is MOVED
        row = await jobs.get(pool, job_id)
        assert row is not None and (row["state"], row["error"]) == ("queued", None)

    with_pool(work)
