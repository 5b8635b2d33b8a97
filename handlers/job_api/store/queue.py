"""The queue: names of procrastinate's tasks and queues, and adding tasks.

Tasks are added by name, so the API needs no import of the code behind them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handlers.job_api.store.database import Connection, Pool

if TYPE_CHECKING:
    from procrastinate import App

GENERATE = "musicgen.generate"
LOCAL, REMOTE = "local", "remote"


async def open_queue(pool: Pool) -> App:
    """Return procrastinate's app on the connections of `pool`, to be closed by the pool's owner."""
    from procrastinate import App, PsycopgConnector

    connector = PsycopgConnector()
    app = App(connector=connector)
    # The type hint of `open_async` allows only pools with rows as tuples.
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
    """Add a task within the transaction of `connection`, and return its id in the queue.

    `seconds`: delay before a worker may take it. `values`: arguments of the task.

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
        # Raise psycopg's own error: `retry_on_disconnect` recognises only those.
        raise error.__cause__ or error from None
