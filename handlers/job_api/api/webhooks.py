"""Delivery of webhooks for finished jobs.

They are signed as in the Standard Webhooks specification, repeated until the receiver accepts them,
and sent only to public addresses. `webhook-id` is the job's id: a receiver knows repetitions by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from handlers.job_api.store import jobs, webhook_deliveries
from handlers.job_api.store.api_keys import find_webhook_secret
from handlers.job_api.store.database import DISCONNECT_ERRORS, Pool
from handlers.job_api.store.status import build_status
from handlers.job_api.store.webhook_deliveries import PAUSES, WebhookLease
from musicgen.errors import InputAudioRefused, InvalidRequest
from musicgen.process.tracing import span

CONCURRENCY, OWNER_CONCURRENCY = 16, 8
"""Attempts at once: of all owners, and of one. Slow receivers of one do not stop the others."""
POLL_SECONDS = 1.0
STOP_SECONDS = 5.0
"""Time for attempts under way when the API stops."""
_RELEASE_SECONDS = 2.0

logger = logging.getLogger(__name__)


async def deliver_webhooks(
    pool: Pool, networks: tuple[str, ...], count: Callable[[str], object] = lambda _: None
) -> None:
    """Send due webhooks, until cancelled.

    `count`: called with the outcome of each attempt: delivered, repeated or given_up.
    """
    attempts: dict[asyncio.Task[None], str] = {}
    try:
        while True:
            most, busy = _plan_leases(Counter(attempts.values()))
            try:
                leases = await webhook_deliveries.lease_due(pool, most, busy) if most else []
            except Exception:
                logger.warning("The webhooks cannot be read; retrying.", exc_info=True)
                leases = []
            for lease in leases:
                task = asyncio.create_task(_attempt(pool, lease, networks, count))
                attempts[task] = lease.owner
            if len(leases) < max(most, 1):
                await _wait(set(attempts))
            attempts = {task: owner for task, owner in attempts.items() if not task.done()}
    finally:
        await _stop(set(attempts))


def _plan_leases(running: Counter[str]) -> tuple[int, list[str]]:
    """Return the number of leases to take now, and the owners that get none.

    `running`: attempts of each owner. All leases may turn out to be of one owner.
    """
    busy = [owner for owner, number in running.items() if number >= OWNER_CONCURRENCY]
    largest = max((running[owner] for owner in running if owner not in busy), default=0)
    return min(CONCURRENCY - running.total(), OWNER_CONCURRENCY - largest), busy


async def _wait(attempts: set[asyncio.Task[None]]) -> None:
    """Wait for the next end of an attempt, for a while."""
    if attempts:
        await asyncio.wait(attempts, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(POLL_SECONDS)


async def _stop(attempts: set[asyncio.Task[None]]) -> None:
    """Let attempts end, then cancel them; the next API sends their webhooks again."""
    if not attempts:
        return
    _, running = await asyncio.wait(attempts, timeout=STOP_SECONDS)
    for task in running:
        task.cancel()
    await asyncio.gather(*attempts, return_exceptions=True)


async def _attempt(
    pool: Pool, lease: WebhookLease, networks: tuple[str, ...], count: Callable[[str], object]
) -> None:
    """Send a webhook once and store what came of it."""
    try:
        row = await jobs.get(pool, lease.job_id)
        if row is None:
            return
        try:
            await _send(pool, row, lease, networks)
        except DISCONNECT_ERRORS:
            raise
        except Exception as error:
            count(await _handle_failure(pool, lease, error))
        else:
            count("delivered")
            await webhook_deliveries.finish(pool, lease.job_id)
    except asyncio.CancelledError:
        release = webhook_deliveries.repeat_later(pool, lease, 0, lease.failures)
        with contextlib.suppress(asyncio.TimeoutError, *DISCONNECT_ERRORS):
            await asyncio.wait_for(release, _RELEASE_SECONDS)
        raise
    except DISCONNECT_ERRORS as error:
        logger.warning("The webhook of job %s is sent again later: %s", lease.job_id, error)


async def _send(
    pool: Pool, row: Mapping[str, Any], lease: WebhookLease, networks: tuple[str, ...]
) -> None:
    """Send a webhook. Raises: errors of the network, `OSError` for a status other than 2xx."""
    from musicgen.net.post import post

    secret = await find_webhook_secret(pool, row["owner"])
    body = json.dumps({"type": f"job.{row['state']}", "data": build_status(row)})
    headers = _build_headers(lease.job_id, body, secret)
    facts: dict[str, Any] = {"job_id": lease.job_id, "attempt": lease.failures}
    with span("musicgen.webhook", row["trace"], **facts):
        status = await post(row["webhook_url"], headers, body.encode(), networks)
        if not 200 <= status < 300:
            raise OSError(f"the receiver answered with HTTP status {status}")


async def _handle_failure(pool: Pool, lease: WebhookLease, error: Exception) -> str:
    """Plan the next attempt, unless none is left or the address is not public.

    Returns the outcome of this one: repeated or given_up.
    """
    is_final = isinstance(error, InputAudioRefused) or lease.failures >= len(PAUSES)
    why = error.problem if isinstance(error, InvalidRequest) else str(error)
    if is_final:
        logger.warning("Giving up the webhook of job %s: %s", lease.job_id, why)
        await webhook_deliveries.finish(pool, lease.job_id)
        return "given_up"
    logger.info("The webhook of job %s failed and will be repeated: %s", lease.job_id, why)
    pause = PAUSES[lease.failures]
    await webhook_deliveries.repeat_later(pool, lease, pause, lease.failures + 1)
    return "repeated"


def _build_headers(job_id: str, body: str, secret: str | None) -> dict[str, str]:
    """Return the headers of a webhook, with a signature if the caller has a key."""
    from standardwebhooks.webhooks import Webhook

    moment = datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": job_id,
        "webhook-timestamp": str(int(moment.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Webhook(secret).sign(job_id, moment, body)
    return headers
