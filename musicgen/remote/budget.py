"""Monthly budget for remote compute: reservations and costs, up to a cap.

Amounts are `Decimal` USD; months are texts such as 2026-01 (UTC). The estimate of a job is reserved
before the job is sent. Afterwards its cost replaces the reservation; a job that did not run costs
nothing. A crashed process keeps its reservation, because the remote job may still be running. A
cost above its estimate counts in full.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import Protocol

_SMALLEST = Decimal("0.000001")


class Ledger(Protocol):
    """Record of the money spent per month, shared by all processes spending it."""

    def reserve(self, month: str, amount: Decimal, cap: Decimal | None) -> bool:
        """Count `amount` as spent and return True, unless that would pass `cap`.

        A `cap` of None is no limit.
        """

    def settle(self, month: str, reserved: Decimal, cost: Decimal) -> None:
        """Count `cost` in place of the reservation made in that month."""

    def read_spent(self, month: str) -> Decimal:
        """Return the amount spent in a month, reservations included."""


def format_month(moment: datetime) -> str:
    """Return the month of `moment` in UTC, such as 2026-01."""
    return moment.astimezone(UTC).strftime("%Y-%m")


def round_usd(amount: Decimal) -> Decimal:
    """Round an amount up to a millionth of a dollar."""
    return amount.quantize(_SMALLEST, ROUND_CEILING)
