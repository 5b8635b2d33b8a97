"""Migrations of the database, of the job API's own tables and of procrastinate's.

Each migration is one SQL file and runs once, in a transaction of its own; `musicgen_schema` records
it. The first word of our files says what a running older program makes of the change:

- `-- Expand:` adds tables, columns, indexes or functions. Older programs work on beside it.
- `-- Contract:` removes or changes what an older program uses. It ships at least one release after
  the program stopped using it, and older programs refuse the database from then on.

procrastinate marks its files `_pre_` and `_post_` in the same sense.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicgen import __version__
from musicgen.errors import DatabaseTooNew

if TYPE_CHECKING:
    import psycopg
    from psycopg_pool import AsyncConnectionPool

    Connection = psycopg.AsyncConnection[dict[str, Any]]

FOLDER = Path(__file__).with_name("migrations")
EXPAND, CONTRACT = "-- Expand:", "-- Contract:"
OWN, QUEUE = "musicgen", "procrastinate"
ROLLOUT_SECONDS = 3600
"""Time for the last older program to end, before procrastinate's old functions are dropped."""
NEW_SECONDS = 60.0
"""Age below which a database is new: several processes start at once and share the migrations."""
_LOCK = 7_062_030_910
_TABLE = """
    CREATE TABLE IF NOT EXISTS musicgen_schema (
        part text NOT NULL,
        version bigint NOT NULL,
        name text NOT NULL,
        contracts boolean NOT NULL DEFAULT true,
        package_version text NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (part, version)
    )
"""
_RECORD = """
    INSERT INTO musicgen_schema (part, version, name, contracts, package_version)
    VALUES (%s, %s, %s, %s, %s)
"""
APPLIED = """
    SELECT part, version, name, contracts, package_version,
           extract(epoch FROM now() - applied_at)::float AS age
    FROM musicgen_schema ORDER BY part, version
"""
"""Query of the columns of `AppliedMigration`, in their order."""
# The newest thing that each of procrastinate's releases has added, for a database without records.
_QUEUE_RELEASES = (
    (3_04_00_50, "to_regproc('procrastinate_retry_job_v2')"),
    (3_02_00_50, "to_regtype('procrastinate_job_to_defer_v1')"),
    (3_01_00_50, "to_regclass('procrastinate_workers')"),
    (3_00_00_50, "to_regclass('procrastinate_jobs')"),
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Migration:
    """One step of the schema. `contracts`: older programs cannot use the database after it."""

    part: str
    version: int
    name: str
    contracts: bool
    path: Path


@dataclass(frozen=True)
class AppliedMigration:
    """One row of `musicgen_schema`. `age`: seconds since it was applied."""

    part: str
    version: int
    name: str
    contracts: bool
    package_version: str
    age: float


def list_own_migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return the migrations of the job API's tables, in the order of their numbers.

    Raises: `ValueError` for a file without a number or without its kind.
    """
    migrations = []
    for path in sorted(folder.glob("*.sql")):
        number = re.match(r"(\d{4})_[a-z0-9_]+\.sql", path.name)
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        if number is None or not first.startswith((EXPAND, CONTRACT)):
            raise ValueError(
                f"{path.name} must be named NNNN_topic.sql and begin with {EXPAND} or {CONTRACT}"
            )
        contracts = first.startswith(CONTRACT)
        migrations.append(Migration(OWN, int(number[1]), path.stem, contracts, path))
    return migrations


def list_queue_migrations() -> list[Migration]:
    """Return the migrations of the installed procrastinate from 3.0.0 on, in order."""
    from procrastinate.schema import migrations_path

    migrations = []
    for path in sorted(migrations_path.glob("*.sql")):
        number = int("".join(re.findall(r"\d\d", path.name[:11])))
        if number >= 3_00_00_00:
            contracts = "_post_" in path.name
            migrations.append(Migration(QUEUE, number, path.stem, contracts, path))
    return migrations


async def migrate(
    pool: AsyncConnectionPool[Connection], own: Sequence[Migration] | None = None
) -> None:
    """Bring the database to the schema of this program, one process at a time.

    A migration with a lower number than the newest applied one runs too. `own`: other migrations
    than those of this program, for tests.

    Raises: `DatabaseTooNew` if a newer program has made a change this one cannot work with.
    """
    known = [*list_queue_migrations(), *(list_own_migrations() if own is None else own)]
    while True:
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            await connection.execute(_TABLE)
            await _record_queue_schema(connection, known)
            applied = await _read_applied(connection)
            for part in (QUEUE, OWN):
                _refuse_newer(part, known, applied)
            migration = _find_next(known, applied)
            if migration is None:
                return
            await connection.execute(migration.path.read_bytes())
            await _record(connection, migration)
        # The tables of a new database are no news.
        is_upgrade = any(row.age > NEW_SECONDS for row in applied)
        level = logging.INFO if is_upgrade else logging.DEBUG
        logger.log(level, "The database now has the migration %s.", migration.name)


def count_pending(applied: Sequence[AppliedMigration]) -> int:
    """Return the number of migrations that this program would add to a database.

    Raises: `DatabaseTooNew`.
    """
    check_compatible(applied)
    known = [*list_queue_migrations(), *list_own_migrations()]
    done = {(row.part, row.version) for row in applied}
    return sum((m.part, m.version) not in done for m in known)


def check_compatible(applied: Sequence[AppliedMigration]) -> None:
    """Refuse a schema that this program cannot work with. Raises: `DatabaseTooNew`."""
    known = [*list_queue_migrations(), *list_own_migrations()]
    for part in (QUEUE, OWN):
        _refuse_newer(part, known, applied)


async def _read_applied(connection: Connection) -> list[AppliedMigration]:
    cursor = await connection.execute(APPLIED)
    return [AppliedMigration(**row) for row in await cursor.fetchall()]


async def _record_queue_schema(connection: Connection, known: Sequence[Migration]) -> None:
    """Create procrastinate's tables where there are none, and record the migrations they hold."""
    if await _select(connection, f"EXISTS (SELECT FROM musicgen_schema WHERE part = '{QUEUE}')"):
        return
    from procrastinate.schema import SchemaManager

    queue = [m for m in known if m.part == QUEUE]
    if await _select(connection, "to_regclass('procrastinate_jobs')") is None:
        await connection.execute(SchemaManager.get_schema().encode())
        release = queue[-1].version
    else:
        release = await _find_queue_release(connection)
    for migration in queue:
        if migration.version <= release:
            await _record(connection, migration)


async def _find_queue_release(connection: Connection) -> int:
    """Return the newest migration in a database whose queue has no records."""
    for release, newest in _QUEUE_RELEASES[:-1]:
        if await _select(connection, newest) is not None:
            return release
    return _QUEUE_RELEASES[-1][0]


async def _select(connection: Connection, expression: str) -> Any:
    cursor = await connection.execute(f"SELECT {expression} AS value".encode())
    row = await cursor.fetchone()
    return row and row["value"]


async def _record(connection: Connection, migration: Migration) -> None:
    package = __version__ if migration.part == OWN else version(QUEUE)
    values = (migration.part, migration.version, migration.name, migration.contracts, package)
    await connection.execute(_RECORD, values)


def _refuse_newer(
    part: str, known: Sequence[Migration], applied: Sequence[AppliedMigration]
) -> None:
    """Refuse a database with a change of a newer program that older ones cannot work with."""
    names = {m.version: m.name for m in known if m.part == part}
    for row in applied:
        if row.part == part and row.version not in names and row.contracts:
            package = __version__ if part == OWN else version(QUEUE)
            raise DatabaseTooNew(
                f"{part} {row.package_version} ({row.name})",
                f"{part} {package} ({names[max(names)]})",
            )


def _find_next(known: Sequence[Migration], applied: Sequence[AppliedMigration]) -> Migration | None:
    done = {(row.part, row.version) for row in applied}
    missing = [m for m in known if (m.part, m.version) not in done]
    is_rolling_out = any(
        row.part == QUEUE and not row.contracts and row.age < ROLLOUT_SECONDS for row in applied
    )
    if is_rolling_out and all(m.contracts for m in missing if m.part == QUEUE):
        # Programs with the older procrastinate may still run.
        missing = [m for m in missing if m.part != QUEUE]
    return missing[0] if missing else None
