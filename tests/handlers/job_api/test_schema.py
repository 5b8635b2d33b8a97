"""Migrations: numbers, order, records, a refused downgrade, and processes that start together."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from handlers.job_api.store.database import open_pool
from handlers.job_api.store.schema import (
    CONTRACT,
    EXPAND,
    FOLDER,
    list_own_migrations,
    list_queue_migrations,
    migrate,
)
from musicgen import __version__
from musicgen.errors import DatabaseTooNew
from tests.support import ROOT


def _migrate(url: str, folder: Path = FOLDER) -> None:
    async def connect_and_migrate() -> None:
        async with open_pool(url) as pool:
            await migrate(pool, list_own_migrations(folder))

    asyncio.run(connect_and_migrate())


def _rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name[1:]}.sql").write_text(text)
    return folder


def test_the_numbers_are_unique_and_every_file_says_its_kind() -> None:
    migrations = list_own_migrations()
    assert [m.path.name for m in migrations] == sorted(p.name for p in FOLDER.iterdir())
    assert [n for n, count in Counter(m.version for m in migrations).items() if count > 1] == []
    assert migrations[0].name == "0001_release_0_1_0"
    queue = list_queue_migrations()
    assert [m.version for m in queue] == sorted({m.version for m in queue})
    assert queue[0].name.startswith("03.00.00_01_pre_")


@pytest.mark.parametrize(
    ("name", "text"), [("_10_short", f"{EXPAND} a\n"), ("_0002_kind", "SELECT 1")]
)
def test_a_file_without_number_or_kind_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(ValueError, match="NNNN_topic"):
        list_own_migrations(_write(tmp_path, **{name: text}))


def test_an_empty_database_gets_and_records_every_migration_once(database: str) -> None:
    _migrate(database)
    recorded = _rows(database, "SELECT part, name, package_version FROM musicgen_schema")
    expected = {(m.part, m.name) for m in [*list_own_migrations(), *list_queue_migrations()]}
    assert {row[:2] for row in recorded} == expected
    assert {row[2] for row in recorded if row[0] == "musicgen"} == {__version__}
    before = _rows(database, "SELECT * FROM musicgen_schema ORDER BY part, version")
    _migrate(database)
    assert _rows(database, "SELECT * FROM musicgen_schema ORDER BY part, version") == before


def test_a_lower_number_that_comes_later_is_applied_too(database: str, tmp_path: Path) -> None:
    folder = _write(tmp_path, _0030_later=f"{EXPAND} one\nCREATE TABLE later (a int);")
    _migrate(database, folder)
    _write(folder, _0010_sooner=f"{EXPAND} two\nCREATE TABLE sooner (a int);")
    _migrate(database, folder)
    assert _rows(database, "SELECT to_regclass('sooner') IS NOT NULL") == [(True,)]


def test_a_failed_migration_leaves_nothing_behind(database: str, tmp_path: Path) -> None:
    good = f"{EXPAND} one\nCREATE TABLE good (a int);"
    bad = f"{EXPAND} two\nCREATE TABLE half (a int); SELECT 1 / 0;"
    folder = _write(tmp_path, _0001_good=good, _0002_bad=bad)
    with pytest.raises(psycopg.errors.DivisionByZero):
        _migrate(database, folder)
    tables = _rows(database, "SELECT to_regclass('good') IS NULL, to_regclass('half') IS NULL")
    assert tables == [(False, True)]
    names = _rows(database, "SELECT name FROM musicgen_schema WHERE part = 'musicgen'")
    assert names == [("0001_good",)]


def test_an_older_program_works_beside_an_expanded_schema(database: str, tmp_path: Path) -> None:
    newer = _write(tmp_path / "newer", _0001_a=f"{EXPAND} a\n", _0002_b=f"{EXPAND} b\n")
    older = _write(tmp_path / "older", _0001_a=f"{EXPAND} a\n")
    _migrate(database, newer)
    _migrate(database, older)


def test_an_older_program_refuses_a_contracted_schema(database: str, tmp_path: Path) -> None:
    newer = _write(tmp_path / "newer", _0001_a=f"{EXPAND} a\n", _0002_b=f"{CONTRACT} b\n")
    older = _write(tmp_path / "older", _0001_a=f"{EXPAND} a\n")
    _migrate(database, newer)
    _rows(database, "UPDATE musicgen_schema SET package_version = '7.0' WHERE name = '0002_b'")
    with pytest.raises(DatabaseTooNew) as refusal:
        _migrate(database, older)
    assert str(refusal.value) == (
        f"The database has the schema of musicgen 7.0 (0002_b), newer than musicgen {__version__} "
        "(0001_a) of this program. Start the newer program, or restore a backup from before the "
        "upgrade."
    )


def test_an_older_procrastinate_refuses_a_newer_queue(database: str) -> None:
    _migrate(database)
    row = "('procrastinate', 4000050, '04.00.00_50_post_x', true, '4.0.0')"
    _rows(database, "INSERT INTO musicgen_schema (part, version, name, contracts, "
                    f"package_version) VALUES {row}")  # fmt: skip
    with pytest.raises(DatabaseTooNew, match=r"procrastinate 4\.0\.0 \(04"):
        _migrate(database)


def test_a_queue_with_another_major_version_is_not_installed() -> None:
    """Its version had no bound, and a new major version may have a schema of another kind."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    api = map(Requirement, project["project"]["optional-dependencies"]["api"])
    (queue,) = [each for each in api if each.name == "procrastinate"]
    tried = Version(version("procrastinate"))
    assert tried in queue.specifier
    assert f"{tried.major + 1}.0.0" not in queue.specifier


def test_processes_that_start_together_migrate_once(database: str) -> None:
    async def start_together() -> None:
        async with open_pool(database) as pool:
            await asyncio.gather(*(migrate(pool) for _ in range(6)))

    asyncio.run(start_together())
    assert _rows(database, "SELECT count(*) FROM musicgen_schema WHERE part = 'musicgen'") == [
        (len(list_own_migrations()),)
    ]


def test_a_wheel_carries_the_migrations(tmp_path: Path) -> None:
    command = ["egg_info", "--egg-base", tmp_path, "build_py", "--build-lib", tmp_path / "lib"]
    code = "from setuptools import setup; setup()"
    subprocess.run(
        [sys.executable, "-c", code, *map(str, command)], cwd=ROOT, check=True, capture_output=True
    )
    folder = tmp_path / "lib" / FOLDER.relative_to(ROOT)
    assert list_own_migrations(folder) and len(list_own_migrations(folder)) == len(
        list_own_migrations()
    )
