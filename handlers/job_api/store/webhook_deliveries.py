"""Deliveries of webhooks in the database: due ones, leases and attempts.

A process takes a lease of a delivery and sends it. If the process dies, the lease ends and another
process sends the webhook again: it arrives at least once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from handlers.job_api.store.database import Pool, query
from handlers.job_api.store.jobs import FINAL

LEASE_SECONDS = 20.0
"""Longer than any attempt."""
PAUSES = (5, 30, 120, 600, 3600, 6 * 3600)
"""Seconds before each repetition of a failed delivery."""


@dataclass(frozen=True)
class WebhookLease:
    """Right to send the webhook of a job until `until`. `failures`: number of failed attempts."""

    job_id: str
    owner: str
    until: datetime
    failures: int


async def lease_due(pool: Pool, most: int, busy: Collection[str] = ()) -> list[WebhookLease]:
    """Take leases of at most `most` due deliveries, those due first in front.

    `busy`: owners whose deliveries have to wait.
    """
    rows = await query(
        pool,
        "UPDATE musicgen_jobs SET webhook_at = clock_timestamp() + make_interval(secs => %s) "
        "WHERE id IN (SELECT id FROM musicgen_jobs "
        "WHERE webhook_url IS NOT NULL AND NOT webhook_over AND state = ANY(%s) "
        "AND webhook_at <= now() AND NOT owner = ANY(%s) "
        "ORDER BY webhook_at LIMIT %s FOR UPDATE SKIP LOCKED) "
        "RETURNING id AS job_id, owner, webhook_at AS until, webhook_failures AS failures",
        *(LEASE_SECONDS, list(FINAL), list(busy), most),
    )
    return [WebhookLease(**row) for row in rows]


async def finish(pool: Pool, job_id: str) -> None:
    """End the deliveries of a job: one succeeded, or none can."""
    await query(pool, "UPDATE musicgen_jobs SET webhook_over = true WHERE id = %s", job_id)


async def repeat_later(pool: Pool, lease: WebhookLease, seconds: float, failures: int) -> None:
    """Repeat a delivery after `seconds`, unless another process has a newer lease."""
    await query(
        pool,
        "UPDATE musicgen_jobs SET webhook_at = now() + make_interval(secs => %s), "
        "webhook_failures = %s WHERE id = %s AND webhook_at = %s",
        *(seconds, failures, lease.job_id, lease.until),
    )
