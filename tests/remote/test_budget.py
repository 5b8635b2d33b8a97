"""The ledger: reservations never pass the cap, whoever makes them, and nothing is counted twice."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.remote.budget import FileLedger, month_of, usd

MONTH = "2026-01"
AMOUNTS = st.decimals(0, 10, places=6)


@settings(max_examples=60)
@given(
    cap=AMOUNTS,
    steps=st.lists(
        st.tuples(st.sampled_from(["reserve", "settle", "give back"]), AMOUNTS, st.integers(0, 99)),
        max_size=20,
    ),
)
def test_any_order_of_steps_is_counted_to_the_millionth(
    cap: Decimal, steps: list[tuple[str, Decimal, int]]
) -> None:
    """A new ledger each time: it has nothing but its file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "spent.json"
        open_reservations: list[Decimal] = []
        settled = Decimal(0)
        for step, amount, which in steps:
            before = settled + sum(open_reservations, Decimal(0))
            if step == "reserve":
                got = FileLedger(path).reserve(MONTH, amount, cap)
                assert got == (before + amount <= cap)
                open_reservations += [amount] if got else []
            elif open_reservations:
                reserved = open_reservations.pop(which % len(open_reservations))
                cost = Decimal(0) if step == "give back" else min(amount, reserved)
                FileLedger(path).settle(MONTH, reserved, cost)
                settled += cost
            counted = FileLedger(path).spent(MONTH)
            assert counted == settled + sum(open_reservations, Decimal(0)) <= cap


def test_threads_never_pass_the_cap(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "spent.json")
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda _: ledger.reserve(MONTH, Decimal("0.3"), Decimal(5)), range(40)))
    assert sum(got) == 16
    assert ledger.spent(MONTH) == Decimal("4.8")


def _spend(path: Path) -> int:
    """Reserves 20 times, and gives every second one back."""
    ledger, kept = FileLedger(path), 0
    for index in range(20):
        if ledger.reserve(MONTH, Decimal("0.1"), Decimal(3)):
            kept += 1
            if index % 2:
                ledger.settle(MONTH, Decimal("0.1"), Decimal(0))
                kept -= 1
        assert ledger.spent(MONTH) <= 3
    return kept


def test_processes_never_pass_the_cap_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "spent.json"
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        kept = sum(pool.map(_spend, [path] * 4))
    assert FileLedger(path).spent(MONTH) == kept * Decimal("0.1") <= 3
    # Whoever was refused saw at most three that the others were about to give back.
    assert kept >= 27


def test_what_is_given_back_can_be_reserved_again(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "spent.json")
    for _ in range(5):
        assert ledger.reserve(MONTH, Decimal(1), Decimal(1))
        assert not ledger.reserve(MONTH, Decimal("0.000001"), Decimal(1))
        ledger.settle(MONTH, Decimal(1), Decimal(0))
    assert ledger.spent(MONTH) == 0


def test_months_are_counted_apart(tmp_path: Path) -> None:
    """A reservation of the last minute of a month is settled in that month."""
    ledger = FileLedger(tmp_path / "deeper" / "spent.json")
    assert ledger.reserve("2026-01", Decimal(1), Decimal(1))
    assert ledger.reserve("2026-02", Decimal(1), Decimal(1))
    ledger.settle("2026-01", Decimal(1), Decimal("0.25"))
    assert (ledger.spent("2026-01"), ledger.spent("2026-02")) == (Decimal("0.25"), Decimal(1))


def test_a_cost_above_its_estimate_counts_in_full(tmp_path: Path) -> None:
    ledger = FileLedger(tmp_path / "spent.json")
    assert ledger.reserve(MONTH, Decimal(1), Decimal(2))
    ledger.settle(MONTH, Decimal(1), Decimal("1.5"))
    assert not ledger.reserve(MONTH, Decimal(1), Decimal(2))


@pytest.mark.parametrize("content", ["", "[]", '{"2026-01": "much"}', '{"2026-01": null}'])
def test_a_file_that_is_not_understood_lets_nothing_be_spent(tmp_path: Path, content: str) -> None:
    path = tmp_path / "spent.json"
    path.write_text(content)
    with pytest.raises(ValueError):
        FileLedger(path).reserve(MONTH, Decimal(1), Decimal(100))
    assert path.read_text() == content


def test_a_month_is_that_of_utc() -> None:
    ahead = timezone(timedelta(hours=9))
    assert month_of(datetime(2026, 2, 1, 3, tzinfo=ahead)) == "2026-01"


def test_a_cost_is_rounded_up() -> None:
    assert usd(Decimal("0.0000001")) == Decimal("0.000001")
    assert usd(Decimal("0.000001")) == Decimal("0.000001")
