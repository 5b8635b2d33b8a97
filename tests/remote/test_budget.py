"""The month and the amounts of a ledger; tests of the ledger are in handlers/job_api."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal

from musicgen.remote.budget import format_month, round_usd


def test_a_month_is_that_of_utc() -> None:
    ahead = timezone(timedelta(hours=9))
    assert format_month(datetime(2026, 2, 1, 3, tzinfo=ahead)) == "2026-01"


def test_a_cost_is_rounded_up() -> None:
    assert round_usd(Decimal("0.0000001")) == Decimal("0.000001")
    assert round_usd(Decimal("0.000001")) == Decimal("0.000001")
