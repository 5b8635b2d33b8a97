"""PostgreSQL: the one that DATABASE_URL names, or one of our own in the data folder."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from handlers.job_api.store.embedded_postgres import EmbeddedServer

T = TypeVar("T")
Pool = AsyncConnectionPool[psycopg.AsyncConnection[dict[str, Any]]]
Connection = psycopg.AsyncConnection[dict[str, Any]]
LOST = (psycopg.OperationalError, psycopg.errors.AdminShutdown)
"""What a statement raises while the database is gone or starts again."""
PATIENCE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS = 0.1
_SCHEMA = Path(__file__).with_name("schema.sql")
_SCHEMA_LOCK = 7_062_030_910

logger = logging.getLogger(__name__)


def database_url(given: str | None, data_dir: Path) -> str:
    """`given`, or the address of the embedded server, which then runs as long as this process.

    Raises: `MissingDependency` where neither is there.
    """
    return given or EmbeddedServer(data_dir).url


@asynccontextmanager
async def connected(url: str, largest: int = 8) -> AsyncIterator[Pool]:
    """A pool of connections, each looked at before it is lent: a restarted database is no error
    of the next caller's."""
    pool: Pool = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=largest,
        timeout=PATIENCE_SECONDS,
        check=AsyncConnectionPool.check_connection,
        # Not as an argument: procrastinate brings it itself, for the connection that listens.
        configure=_autocommit,
        kwargs={"row_factory": dict_row},
        open=False,
    )
    await pool.open(wait=True, timeout=PATIENCE_SECONDS)
    try:
        yield pool
    finally:
        await pool.close()


async def _autocommit(connection: Connection) -> None:
    await connection.set_autocommit(True)


async def create_tables(pool: Pool) -> None:
    """Those of procrastinate and ours, where they are missing; one process at a time."""
    from procrastinate.schema import SchemaManager

    async with pool.connection() as connection, connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_SCHEMA_LOCK])
        cursor = await connection.execute("SELECT to_regclass('procrastinate_jobs') AS there")
        row = await cursor.fetchone()
        if row is None or row["there"] is None:
            await connection.execute(SchemaManager.get_schema().encode())
        await connection.execute(_SCHEMA.read_bytes())


async def query(pool: Pool, statement: str, *values: object) -> list[dict[str, Any]]:
    """The rows of a statement that may be sent twice; see `patiently`."""

    async def once() -> list[dict[str, Any]]:
        async with pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), values or None)
            return await cursor.fetchall() if cursor.description else []

    return await patiently(once)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Does what may be done twice, again and again while the database is away, up to a minute.

    Raises: one of `LOST` then.
    """
    end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await work()
        except LOST as error:
            if asyncio.get_running_loop().time() + pause > end:
                raise
            logger.warning("the database does not answer (%s): again", type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)
