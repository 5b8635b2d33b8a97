"""Telling callers that a job has ended: signed as Standard Webhooks say, again until it is taken,
and only to public addresses."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from handlers.job_api.store import jobs, queue
from handlers.job_api.store.api_keys import webhook_secret_of
from handlers.job_api.store.database import Pool
from handlers.job_api.store.status import shown
from musicgen.errors import InputAudioRefused, InvalidRequest
from musicgen.process.tracing import span

if TYPE_CHECKING:
    from procrastinate import App

SIDE_BY_SIDE = 8

logger = logging.getLogger(__name__)


async def deliver_webhooks(pool: Pool, app: App, networks: tuple[str, ...]) -> None:
    """Takes webhooks from the queue until it is cancelled."""
    import asyncio

    @app.task(name=queue.WEBHOOK)
    async def webhook(job_id: str, attempt: int) -> None:
        row = await jobs.get(pool, job_id)
        if row is None or row["webhook_url"] is None:
            return
        secret = await webhook_secret_of(pool, row["owner"])
        body = json.dumps({"type": f"job.{row['state']}", "data": shown(row)})
        try:
            with span("musicgen.webhook", row["trace"], job_id=job_id, attempt=attempt):
                await _send(row["webhook_url"], _headers(job_id, body, secret), body, networks)
        except Exception as error:
            await _again(pool, app, job_id, attempt, error)

    while True:
        try:
            await app.run_worker_async(
                queues=[queue.WEBHOOKS],
                name="webhooks",
                concurrency=SIDE_BY_SIDE,
                install_signal_handlers=False,
                shutdown_graceful_timeout=5,
            )
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.warning("the queue of webhooks is away: again in a moment", exc_info=True)
        await asyncio.sleep(1)


async def _send(url: str, headers: dict[str, str], body: str, networks: tuple[str, ...]) -> None:
    """Raises: what a network can do, and `OSError` for an answer that is no 2xx."""
    from musicgen.net.post import post

    status = await post(url, headers, body.encode(), networks)
    if not 200 <= status < 300:
        raise OSError(f"it answers with {status}")


async def _again(pool: Pool, app: App, job_id: str, attempt: int, error: Exception) -> None:
    # An address that is private now may have been mistaken for another one, and is not asked again.
    is_hopeless = isinstance(error, InputAudioRefused) or attempt >= len(queue.WEBHOOK_PAUSES)
    why = error.problem if isinstance(error, InvalidRequest) else str(error)
    if is_hopeless:
        logger.warning("the webhook of job %s is given up: %s", job_id, why)
        return
    logger.info("the webhook of job %s was not taken (%s): again later", job_id, why)
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
    """Signed where the caller has a key; on a machine without keys there is nobody to prove it
    to."""
    from standardwebhooks.webhooks import Webhook

    moment = datetime.now(timezone.utc)
    headers = {
        "content-type": "application/json",
        "webhook-id": job_id,
        "webhook-timestamp": str(int(moment.timestamp())),
    }
    if secret is not None:
        headers["webhook-signature"] = Webhook(secret).sign(job_id, moment, body)
    return headers
