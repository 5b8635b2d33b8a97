"""A ledger in memory, for tests of what spends."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from threading import Lock


class MemoryLedger:
    """Ledger of one process; with `is_broken` set, every call fails."""

    def __init__(self) -> None:
        self.months: dict[str, Decimal] = defaultdict(Decimal)
        self.is_broken = False
        self._lock = Lock()

    def reserve(self, month: str, amount: Decimal, cap: Decimal | None) -> bool:
        self._check()
        with self._lock:
            if cap is not None and self.months[month] + amount > cap:
                return False
            self.months[month] += amount
            return True

    def settle(self, month: str, reserved: Decimal, cost: Decimal) -> None:
        self._check()
        with self._lock:
            self.months[month] += cost - reserved

    def read_spent(self, month: str) -> Decimal:
        self._check()
        return self.months.get(month, Decimal(0))

    def _check(self) -> None:
        if self.is_broken:
            raise OSError("the ledger is broken")
