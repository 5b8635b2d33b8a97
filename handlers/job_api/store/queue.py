"""The queue: procrastinate's tasks by name, and what puts them in.

A task is told by its name alone, so that the API puts jobs in without importing what does them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.job_api.store.database import Connection, Pool

if TYPE_CHECKING:
    from procrastinate import App

GENERATE, WEBHOOK = "musicgen.generate", "musicgen.webhook"
LOCAL, REMOTE, WEBHOOKS = "local", "remote", "webhooks"
WEBHOOK_PAUSES = (5, 30, 120, 600, 3600, 6 * 3600)
"""Seconds until a webhook that was not taken is sent again."""


async def open_queue(pool: Pool) -> App:
    """An app on the connections of `pool`; whoever opened that closes it."""
    from procrastinate import App, PsycopgConnector

    connector = PsycopgConnector()
    app = App(connector=connector)
    # Its own words for a pool that somebody else has opened.
    await connector.open_async(pool)  # type: ignore[arg-type]
    return app


async def put(
    app: App,
    connection: Connection,
    task: str,
    queue: str,
    *,
    priority: int = 0,
    seconds: int = 0,
    **values: Any,
) -> int:
    """The queue's id of a new task, part of the transaction that `connection` is in.

    Raises: psycopg's errors.
    """
    deferrer = app.configure_task(
        task,
        queue=queue,
        priority=priority,
        schedule_in={"seconds": seconds} if seconds else None,
        connection=connection,
    )
    from procrastinate.exceptions import ConnectorException

    try:
        return await deferrer.defer_async(**values)
    except ConnectorException as error:
        # As everybody else here knows it, who would try again.
        raise error.__cause__ or error from None
