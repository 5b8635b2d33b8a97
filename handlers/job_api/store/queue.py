"""The queue: names of procrastinate's tasks and queues, and adding tasks.

Tasks are added by name, so the API needs no import of the code behind them.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from handlers.job_api.store.database import Connection, Pool

if TYPE_CHECKING:
    from procrastinate import App

GENERATE, FETCH_SOUND = "musicgen.generate", "musicgen.fetch"
LOCAL, REMOTE, FETCH = "local", "remote", "fetch"
FETCHES_PER_OWNER = 4
# Tasks with the same lock run one after the other: so many locks, so many fetches at once.
_EMPTIEST_LOCK = """
    SELECT l.name FROM unnest(%s::text[]) WITH ORDINALITY AS l (name, number)
    LEFT JOIN procrastinate_jobs p ON p.lock = l.name AND p.status IN ('todo', 'doing')
    GROUP BY l.name, l.number ORDER BY count(p.id), l.number LIMIT 1
"""


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
    lock: str | None = None,
    **values: Any,
) -> int:
    """Add a task within the transaction of `connection`, and return its id in the queue.

    `seconds`: delay before a worker may take it. `lock`: name shared by tasks of which only one
    runs at a time. `values`: arguments of the task.

    Raises: psycopg's errors.
    """
    # The clock of the claims decides; this machine's may differ.
    schedule_at = await _find_moment(connection, seconds) if seconds else None
    deferrer = app.configure_task(
        task,
        queue=queue,
        priority=priority,
        lock=lock,
        schedule_at=schedule_at,
        connection=connection,
    )
    from procrastinate.exceptions import ConnectorException

    try:
        return await deferrer.defer_async(**values)
    except ConnectorException as error:
        # Raise psycopg's own error: `retry_on_disconnect` recognises only those.
        raise error.__cause__ or error from None


async def _find_moment(connection: Connection, seconds: int) -> datetime:
    """Return the database's time in `seconds`."""
    statement = "SELECT now() + make_interval(secs => %s) AS moment"
    row = await (await connection.execute(statement, [seconds])).fetchone()
    assert row is not None, "the statement returns its row"
    moment: datetime = row["moment"]
    return moment


async def lock_owner(connection: Connection, owner: str) -> None:
    """Make other submissions of an owner wait for the end of this transaction."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [owner])


async def put_fetch(app: App, connection: Connection, job_id: str, owner: str) -> int:
    """Add the task that fetches a job's sound, and return its id in the queue.

    At most `FETCHES_PER_OWNER` tasks of one owner run at once, on all workers together. They have
    no priority: procrastinate keeps the order of tasks with a lock only among equal priorities.

    Raises: psycopg's errors.
    """
    await lock_owner(connection, owner)
    names = [f"fetch {owner} {number}" for number in range(FETCHES_PER_OWNER)]
    cursor = await connection.execute(_EMPTIEST_LOCK.encode(), [names])
    row = await cursor.fetchone()
    assert row is not None, "an owner has locks"
    return await put(app, connection, FETCH_SOUND, FETCH, lock=row["name"], job_id=job_id)
