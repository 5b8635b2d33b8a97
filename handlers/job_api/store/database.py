"""Connections to PostgreSQL: the server of DATABASE_URL, or an embedded one in the data folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from handlers.job_api.store.reachability import read_place
from musicgen.errors import DatabaseUnavailable

T = TypeVar("T")
Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]
Connection = psycopg.AsyncConnection[dict[str, Any]]
DISCONNECT_ERRORS = (psycopg.OperationalError, psycopg.errors.AdminShutdown)
"""Errors of a statement while the database is stopped or restarting."""
RETRY_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.1
_OLD_DATA_DIR = Path("outputs")
"""Data folder of release 0.1.0, in the folder of the command."""
_RECONNECT_SECONDS = 2.0
_reconnections: set[asyncio.Task[None]] = set()

logger = logging.getLogger(__name__)


def database_url(configured: str | None, data_dir: Path) -> str:
    """Return the configured URL, or start the embedded server and return its URL.

    The embedded server runs as long as this process.

    Raises: `MissingDependency` if the embedded server is not installed.
    """
    return configured or EmbeddedServer(data_dir).url


def log_place(configured: str | None, data_dir: Path) -> None:
    """Log the database and folder of a command, without passwords.

    A database that an older release has left in `outputs` is named, too.
    """
    folder = data_dir.absolute()
    if configured is not None:
        logger.info("Data folder: %s; database: %s.", folder, read_place(configured))
        return
    logger.info("Data folder: %s, with an embedded PostgreSQL.", folder)
    old = _OLD_DATA_DIR.absolute()
    if old != folder and (old / "postgres" / "PG_VERSION").exists():
        logger.warning(
            "%s holds a database that is not used. Stop its server, then run "
            "mv %s/{postgres,clips,uploads} %s, or set MUSICGEN_DATA_DIR=%s to use it there.",
            *(old, old, folder, old),
        )


@asynccontextmanager
async def open_pool(url: str, largest: int = 8) -> AsyncIterator[Pool]:
    """Open a pool of at most `largest` connections.

    The pool checks a connection before lending it, so a restart of the database does not fail the
    next query.

    Raises: `DatabaseUnavailable` without a first connection within a minute.
    """
    pool: Pool = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=largest,
        timeout=RETRY_SECONDS,
        # Without these the pause between attempts doubles up to minutes.
        reconnect_timeout=_RECONNECT_SECONDS,
        reconnect_failed=_reconnect,
        check=AsyncConnectionPool.check_connection,
        # Not in `kwargs`: procrastinate passes autocommit itself for its listening connection.
        configure=_autocommit,
        kwargs={"row_factory": dict_row},
        open=False,
    )
    try:
        await pool.open(wait=True, timeout=RETRY_SECONDS)
    except PoolTimeout:
        await pool.close()
        message = f"The database was not reachable for {RETRY_SECONDS:g} s. Check DATABASE_URL."
        raise DatabaseUnavailable(message) from None
    try:
        yield pool
    finally:
        await pool.close()


def _reconnect(pool: Pool) -> None:
    """Have the pool connect again: after a failure it waits for the next caller."""

    async def ask() -> None:
        with contextlib.suppress(psycopg.OperationalError):
            async with pool.connection(timeout=_RECONNECT_SECONDS):
                pass

    task = asyncio.get_running_loop().create_task(ask())
    _reconnections.add(task)
    task.add_done_callback(_reconnections.discard)


async def _autocommit(connection: Connection) -> None:
    await connection.set_autocommit(True)


async def query(
    pool: Pool, statement: str, *values: object, seconds: float | None = None
) -> list[dict[str, Any]]:
    """Run a statement and return its rows, repeating it while the database is unavailable.

    Running the statement twice must do no harm; see `retry_on_disconnect`.
    """

    async def execute() -> list[dict[str, Any]]:
        async with pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values or None)
            return await cursor.fetchall() if cursor.description else []

    return await retry_on_disconnect(execute, seconds)


async def retry_on_disconnect(work: Callable[[], Awaitable[T]], seconds: float | None = None) -> T:
    """Run `work`, and repeat it while the database is unavailable.

    `seconds`: the longest time, a minute by default. A lost connection does not tell whether `work`
    was committed, so running it twice must do no harm.

    Raises: one of `DISCONNECT_ERRORS` after this time.
    """
    end = asyncio.get_running_loop().time() + (RETRY_SECONDS if seconds is None else seconds)
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await work()
        except DISCONNECT_ERRORS as error:
            if asyncio.get_running_loop().time() + pause > end:
                raise
            logger.warning(
                "The database is unavailable (%s); retrying in %g s.", type(error).__name__, pause
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)
