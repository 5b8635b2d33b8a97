"""The embedded database works in folders of any name."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from handlers.job_api.store.embedded_postgres import EmbeddedServer
from tests.support import ROOT
from tests.support.job_server import environment
from tests.support.postgres import copy_empty_database, find_postgres

NAMES = {
    "space": "My projects",
    "shell": "R&D (x) $HOME `id`; a*",
    "quotation marks": """it's "new" \\n""",
    "percent": "50%off a%20b",
    "list": "a,b",
    "unicode": " música ♫",
    "as long as a socket": "x" * 80,
    "longer than a socket": "é" * 110,
}


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder with a path of a few bytes, open to the user that PostgreSQL runs as."""
    with tempfile.TemporaryDirectory(prefix="m") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def data(request: pytest.FixtureRequest, short: Path) -> Path:
    folder = short / request.param
    copy_empty_database(folder)
    return folder


def test_a_server_starts_and_starts_again_after_its_death(data: Path) -> None:
    """It did not start, and the next call in this process returned the dead one."""
    with EmbeddedServer(data) as first, EmbeddedServer(data) as second:
        assert _count(first.url) == 1
        server = find_postgres(data)
        server.kill()
        server.wait(30)
        end = time.monotonic() + 60
        while True:
            try:
                assert _count(second.url) == 1
                break
            except psycopg.OperationalError:
                assert time.monotonic() < end
                time.sleep(0.05)
        assert find_postgres(data).pid != server.pid


def _count(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT 1").fetchone()
    assert row is not None
    return int(row[0])


def _run(data: Path, *arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "handlers.cli", *arguments],
        cwd=ROOT,
        env=environment(data),
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_backup_moves_from_one_odd_folder_to_another(short: Path) -> None:
    first, second = short / """My "R&D", 50%off""", short / "música, it's $HOME"
    copy_empty_database(first)
    copy_empty_database(second)
    saved = short / "a b%20c, 'd'.tar"
    _run(first, "keys", "create", "odd one")
    assert "1 key," in _run(first, "backup", str(saved))
    assert "1 key," in _run(second, "restore", str(saved))
    assert "odd one" in _run(second, "keys", "list")
