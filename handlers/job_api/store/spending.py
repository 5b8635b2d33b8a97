"""Spending on remote platforms by month, in the database shared by all relays."""

from __future__ import annotations

from decimal import Decimal

import psycopg

_RESERVE = """
    INSERT INTO musicgen_spent (month, usd)
    SELECT %(month)s, %(amount)s WHERE %(cap)s::numeric IS NULL OR %(amount)s <= %(cap)s
    ON CONFLICT (month) DO UPDATE SET usd = musicgen_spent.usd + excluded.usd
        WHERE %(cap)s::numeric IS NULL OR musicgen_spent.usd + excluded.usd <= %(cap)s
    RETURNING usd
"""


class SqlLedger:
    """`musicgen.remote.budget.Ledger` in the database.

    Each method is one statement, so two relays cannot exceed the cap together. Each opens its own
    connection, because calls are rare and come from threads. Amounts are US dollars, months
    "YYYY-MM".
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def reserve(self, month: str, amount: Decimal, cap: Decimal | None) -> bool:
        """Reserve `amount`, and return False if that would exceed the cap."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            values = {"month": month, "amount": amount, "cap": cap}
            return connection.execute(_RESERVE, values).fetchone() is not None

    def settle(self, month: str, reserved: Decimal, cost: Decimal) -> None:
        """Replace a reservation by the true cost."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                "UPDATE musicgen_spent SET usd = greatest(0, usd + %s) WHERE month = %s",
                [cost - reserved, month],
            )

    def read_spent(self, month: str) -> Decimal:
        """Return the sum of costs and reservations."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute("SELECT usd FROM musicgen_spent WHERE month = %s", [month])
            row = cursor.fetchone()
            return Decimal(row[0]) if row else Decimal(0)
