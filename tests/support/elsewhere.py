"""Deployments elsewhere as the library asks them: at a price, up to a cap, at a time we set."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from musicgen.remote.circuit_breaker import CircuitBreaker
from musicgen.remote.generate import RemoteGenerator, RemoteResult
from musicgen.remote.guarded import GuardedDeployment
from musicgen.settings import RemoteTokens
from musicgen.settings.remote import RemoteSettings
from tests.support.json_server import TOKEN
from tests.support.ledger import MemoryLedger

FIELDS = {"prompt": "slow calm piano", "duration": 0.3, "seed": 11, "temperature": 0.9}
TOKENS = RemoteTokens(TOKEN, TOKEN, TOKEN)
PRICE, CAP = Decimal("0.001"), Decimal(1)
MONTH = "2026-01"


class Elsewhere:
    """A `GuardedDeployment` of any target, with clocks that stand still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ledger = MemoryLedger()

    def hybrid(
        self,
        target: str,
        name: str | None = None,
        tokens: RemoteTokens = TOKENS,
        timeout: float = 60.0,
        cap: Decimal = CAP,
    ) -> GuardedDeployment:
        settings = RemoteSettings(
            policy="remote",
            target=target,
            name=name,
            timeout_seconds=timeout,
            price=PRICE,
            monthly_cap=cap,
        )
        maker = RemoteGenerator(settings, tokens)
        breaker = CircuitBreaker(3, 60.0, lambda: self.now)
        month = datetime(2026, 1, 31, tzinfo=UTC)
        return GuardedDeployment(maker, breaker, self.ledger, cap, lambda: month)

    @property
    def spent(self) -> Decimal:
        return self.ledger.read_spent(MONTH)


def make(
    hybrid: GuardedDeployment, fields: dict[str, Any], cancelled: threading.Event | None = None
) -> RemoteResult:
    return hybrid.generate(
        fields, on_progress=lambda *_: None, cancelled=cancelled or threading.Event()
    )
