"""What was spent elsewhere in each month, in the database that all relays share."""

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
    """`musicgen.remote.budget.Ledger`: one statement each, so that no two relays pass the cap
    together. Connects for each, because it is asked from threads and seldom."""

    def __init__(self, url: str) -> None:
        self._url = url

    def reserve(self, month: str, amount: Decimal, cap: Decimal | None) -> bool:
        with psycopg.connect(self._url, autocommit=True) as connection:
            values = {"month": month, "amount": amount, "cap": cap}
            return connection.execute(_RESERVE, values).fetchone() is not None

    def settle(self, month: str, reserved: Decimal, cost: Decimal) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                "UPDATE musicgen_spent SET usd = greatest(0, usd + %s) WHERE month = %s",
                [cost - reserved, month],
            )

    def spent(self, month: str) -> Decimal:
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute("SELECT usd FROM musicgen_spent WHERE month = %s", [month])
            row = cursor.fetchone()
            return Decimal(row[0]) if row else Decimal(0)
