"""Money: what was spent elsewhere in a month, and the cap that it never passes.

Amounts are `Decimal` USD, months texts such as 2026-01 (UTC). Before anything is asked for its
estimate is reserved; afterwards the reservation is settled with what it has cost, which is nothing
where nothing ran. What a process has reserved that dies stays counted: what it asked for may run.
A cost above its estimate counts in full, and the next reservation is refused that much earlier.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Protocol

LEDGER_FILE = "remote-spending.json"
"""Its name in the data folder."""
_SMALLEST = Decimal("0.000001")


class Ledger(Protocol):
    """Shared by all processes that spend the same money."""

    def reserve(self, month: str, amount: Decimal, cap: Decimal | None) -> bool:
        """Counts `amount` as spent, unless more than `cap` would be (None is no cap)."""

    def settle(self, month: str, reserved: Decimal, cost: Decimal) -> None:
        """Counts `cost` in place of what was `reserved` in that month."""

    def spent(self, month: str) -> Decimal:
        """With what is reserved."""


class FileLedger:
    """A JSON file on a disk of this machine. Raises: `OSError`, `ValueError` for one that cannot be
    written or read: what cannot be counted is not to be spent."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def reserve(self, month: str, amount: Decimal, cap: Decimal | None) -> bool:
        with self._locked():
            total = self.spent(month) + amount
            if cap is not None and total > cap:
                return False
            self._write(month, total)
            return True

    def settle(self, month: str, reserved: Decimal, cost: Decimal) -> None:
        with self._locked():
            self._write(month, self.spent(month) - reserved + cost)

    def spent(self, month: str) -> Decimal:
        text = self._months().get(month, "0")
        try:
            return Decimal(text)
        except (ArithmeticError, TypeError) as error:
            raise ValueError(f"{self._path} says of {month} {text!r}") from error

    def _months(self) -> dict[str, Any]:
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        months = json.loads(text)
        if not isinstance(months, dict):
            raise ValueError(f"{self._path} does not hold what was spent by month")
        return months

    def _write(self, month: str, total: Decimal) -> None:
        text = json.dumps(self._months() | {month: str(total)}, indent=1)
        new = self._path.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A lock of its own file: the other one is replaced."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def month_of(moment: datetime) -> str:
    """The month that `moment` lies in, UTC."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m")


def usd(amount: Decimal) -> Decimal:
    """In millionths, rounded up."""
    return amount.quantize(_SMALLEST, ROUND_CEILING)
