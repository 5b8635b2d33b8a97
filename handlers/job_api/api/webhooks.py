"""Delivery of webhooks for finished jobs.

They are signed as in the Standard Webhooks specification, repeated until the receiver accepts them,
and sent only to public addresses.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.api_keys import find_webhook_secret
from handlers.job_api.store.database import Pool
from handlers.job_api.store.status import build_status
from musicgen.errors import InputAudioRefused, InvalidRequest
from musicgen.process.tracing import span

if TYPE_CHECKING:
    from procrastinate import App

CONCURRENCY = 8

logger = logging.getLogger(__name__)


async def deliver_webhooks(pool: Pool, app: App, networks: tuple[str, ...]) -> None:
    """Take webhooks from the queue and send them, until cancelled."""
    import asyncio

    @app.task(name=queue.WEBHOOK)
    async def webhook(job_id: str, attempt: int) -> None:
        row = await jobs.get(pool, job_id)
        if row is None or row["webhook_url"] is None:
            return
        secret = await find_webhook_secret(pool, row["owner"])
        body = json.dumps({"type": f"job.{row['state']}", "data": build_status(row)})
        try:
            with span("musicgen.webhook", row["trace"], job_id=job_id, attempt=attempt):
                await _send(row["webhook_url"], _headers(job_id, body, secret), body, networks)
        except Exception as error:
            await _retry_later(pool, app, job_id, attempt, error)

    while True:
        try:
            await app.run_worker_async(
                queues=[queue.WEBHOOKS],
                name="webhooks",
                concurrency=CONCURRENCY,
                install_signal_handlers=False,
                shutdown_graceful_timeout=5,
            )
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.warning("The queue of webhooks is unavailable; retrying.", exc_info=True)
        await asyncio.sleep(1)


async def _send(url: str, headers: dict[str, str], body: str, networks: tuple[str, ...]) -> None:
    """Send a webhook. Raises: errors of the network, `OSError` for a status other than 2xx."""
    from musicgen.net.post import post

    status = await post(url, headers, body.encode(), networks)
    if not 200 <= status < 300:
        raise OSError(f"the receiver answered with HTTP status {status}")


async def _retry_later(pool: Pool, app: App, job_id: str, attempt: int, error: Exception) -> None:
    """Queue a failed webhook again, unless no attempt is left or its address is not public."""
    is_final = isinstance(error, InputAudioRefused) or attempt >= len(queue.WEBHOOK_PAUSES)
    why = error.problem if isinstance(error, InvalidRequest) else str(error)
    if is_final:
        logger.warning("Giving up the webhook of job %s: %s", job_id, why)
        return
    logger.info("The webhook of job %s failed and will be repeated: %s", job_id, why)
    async with pool.connection() as connection, connection.transaction():
        await queue.put(
            app,
            connection,
            queue.WEBHOOK,
            queue.WEBHOOKS,
            seconds=queue.WEBHOOK_PAUSES[attempt],
            job_id=job_id,
            attempt=attempt + 1,
        )


def _headers(job_id: str, body: str, secret: str | None) -> dict[str, str]:
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
