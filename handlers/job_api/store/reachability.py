"""Check of the database: reachable, login, version, encoding, right to write.

A permanent fault is a `SettingsError` of DATABASE_URL: waiting does not help. A passing one is
`DatabaseUnavailable`: the server or the name service may still be starting.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import conninfo

from handlers.job_api.store.schema import APPLIED, AppliedMigration, count_pending
from handlers.job_api.store.sqlstate import read_sqlstate
from musicgen.errors import DatabaseUnavailable, SettingsError

VARIABLE = "DATABASE_URL"
OLDEST_VERSION = 13
"""Oldest PostgreSQL supported by procrastinate."""
CONNECT_SECONDS = 3
"""Longest time for one connection; libpq does not go below 2."""
_SCHEMES = ("postgresql", "postgres")
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_ENCODE = f"Write {_FORM} and percent-encode special characters of the password."
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 2.0
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9a-fA-F:.%]+")
_REFUSALS = {
    "28P01": (
        "the server refuses the user or the password",
        "Correct them; percent-encode special characters",
    ),
    "28000": (
        "the server does not let this user in",
        "Create the user, allow user, database and this machine's address in pg_hba.conf, or add "
        "?sslmode=require",
    ),
    "3D000": (
        "the server has no such database",
        "Create it with `createdb`, or correct the name",
    ),
    "42501": (
        "the server does not let this user into the database",
        "GRANT CONNECT ON DATABASE to the user",
    ),
}
"""SQLSTATE of a refused connection, problem, advice. The server's text may be in any language."""
_CLIENT_REFUSALS = (
    (
        r"no password supplied",
        "the server asks for a password",
        f"Write {_FORM}",
    ),
    (
        r"does not support SSL|certificate|sslmode|sslrootcert",
        "the encrypted connection fails",
        "Correct sslmode and sslrootcert",
    ),
    (
        r"invalid response to SSL|expected authentication request",
        "another program than PostgreSQL answers there",
        "Correct host and port",
    ),
    (r"invalid .*(value|option|URI)", "it has an invalid part", f"Write {_FORM}"),
)
"""Pattern in a text of libpq, which has no code and one language."""
_FACTS = """
SELECT current_setting('server_version_num')::int AS version,
       current_setting('server_encoding') AS encoding,
       current_setting('transaction_read_only') = 'on' AS is_read_only,
       to_regclass('musicgen_schema') IS NOT NULL AS has_schema,
       has_schema_privilege(current_schema(), 'CREATE') AS may_create,
       current_user AS user
"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DatabaseFacts:
    """A database fit for use. `place`: HOST:PORT/DATABASE. `version`: major version.

    `pending`: number of migrations for the first server to run, None for a database without tables.
    """

    place: str
    version: int
    pending: int | None


def wait_for_database(url: str, seconds: float) -> DatabaseFacts:
    """Wait for a usable database for at most `seconds`, with one log line.

    Raises: `SettingsError` at once for a permanent fault; `DatabaseUnavailable` at the end.
    """
    end = time.monotonic() + seconds
    pause, has_said = _PAUSE_SECONDS, False
    while True:
        try:
            return check_database(url)
        except DatabaseUnavailable as error:
            if time.monotonic() + pause > end:
                raise
            if not has_said:
                logger.warning("%s Waiting for up to %g s.", error, seconds)
                has_said = True
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def check_database(url: str) -> DatabaseFacts:
    """Connect once and return the facts.

    Raises: `SettingsError` and `DatabaseTooNew` for a permanent fault, `DatabaseUnavailable` for a
    passing one.
    """
    place = read_place(url)
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS, autocommit=True) as connection:
            row = connection.execute(_FACTS).fetchone() or ()
            version, encoding, is_read_only, has_schema, may_create, user = row
            rows = connection.execute(APPLIED).fetchall() if has_schema else None
    except psycopg.Error as error:
        raise _translate(error, url, place) from None
    if version < OLDEST_VERSION * 10_000:
        raise _refuse(
            f"leads to PostgreSQL {version // 10_000}, which is too old",
            f"Use PostgreSQL {OLDEST_VERSION} or newer.",
        )
    if encoding != "UTF8":
        raise _refuse(
            f"leads to a database in {encoding}",
            "Create one with `createdb --encoding UTF8 --template template0`.",
        )
    if is_read_only:
        raise DatabaseUnavailable(
            f"The database at {place} is read-only: a standby, or a failover is in progress. "
            "Connect to the primary server."
        )
    if not may_create:
        raise _refuse(
            f"names the user {user}, who may create no tables",
            f"Make {user} the owner of the database, or GRANT CREATE ON SCHEMA public.",
        )
    pending = None if rows is None else count_pending([AppliedMigration(*row) for row in rows])
    return DatabaseFacts(place, version // 10_000, pending)


def read_place(url: str) -> str:
    """Return HOST:PORT/DATABASE of a URL, without user and password.

    Raises: `SettingsError` for a text of another form.
    """
    scheme = url.partition("://")[0] if "://" in url else None
    if scheme is not None and scheme not in _SCHEMES:
        raise _refuse(f"begins with {scheme[:20]}://", f"Write {_FORM}.")
    try:
        parts: dict[str, Any] = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        # Its text may show the password.
        raise _refuse("is not the URL of a PostgreSQL database", f"Write {_FORM}.") from None
    if "@" in url.partition("?")[0].partition("@")[2]:
        raise _refuse("holds @ more than once", _ENCODE)
    host, port = str(parts.get("host") or "localhost"), str(parts.get("port") or "5432")
    for one in host.split(","):
        if one and not one.startswith(("/", "@")) and not _HOST.fullmatch(one):
            # A password with @ or / ends up here, so the host is not shown.
            raise _refuse("has a host name of the wrong form", _ENCODE)
    if not all(one.isdecimal() and 0 < int(one) < 65536 for one in port.split(",") if one):
        raise _refuse("has a port that is not a number from 1 to 65535", f"Write {_FORM}.")
    name = str(parts.get("dbname") or parts.get("user") or "")
    if "@" in name or "/" in name:
        raise _refuse("has a database name with / or @", _ENCODE)
    return f"{host}/{name}" if host.startswith("/") else f"{host}:{port}/{name}"


def _translate(error: psycopg.Error, url: str, place: str) -> SettingsError | DatabaseUnavailable:
    refusal = _find_refusal(error, url)
    if refusal is not None:
        problem, advice = refusal
        return _refuse(f"does not work for {place}: {problem}", f"{advice}.")
    reason = _describe(str(error))
    return DatabaseUnavailable(
        f"The database at {place} is not reachable ({reason}). Start it, or correct DATABASE_URL."
    )


def _find_refusal(error: psycopg.Error, url: str) -> tuple[str, str] | None:
    """Return problem and advice of a permanent fault, None for a passing one."""
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        return None
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        # Of a statement: a refused connection has no class of its own.
        return "its user may not read the tables of the job API", "Name the user that made them"
    code = error.sqlstate or read_sqlstate(url, CONNECT_SECONDS)
    if code is not None:
        return _REFUSALS.get(code)
    text = str(error)
    found = (reason for pattern, *reason in _CLIENT_REFUSALS if re.search(pattern, text))
    return next(((problem, advice) for problem, advice in found), None)


def _describe(text: str) -> str:
    """Return the last clause of libpq's text: "Connection refused"."""
    reasons = {
        r"could not translate host name|[Nn]ame or service not known|failed to resolve": (
            "unknown host name"
        ),
        r"timeout|timed out": f"no answer within {CONNECT_SECONDS} s",
    }
    for pattern, reason in reasons.items():
        if re.search(pattern, text):
            return reason
    first = text.strip().partition("\n")[0]
    return re.split(r"(?:failed|bad): ", first)[-1].strip().removesuffix(".")[:120]


def _refuse(problem: str, advice: str) -> SettingsError:
    return SettingsError(VARIABLE, problem, advice=advice)
