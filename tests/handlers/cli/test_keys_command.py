"""`musicgen keys` and `serve` mean the same database, wherever they are started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.job_server import data_folder, environment


def _keys(cwd: Path, home: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    env = environment(home, XDG_DATA_HOME=home, PYTHONPATH=ROOT)
    del env["MUSICGEN_DATA_DIR"]
    command = [sys.executable, "-m", "handlers.cli", "keys", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


def test_a_key_is_known_in_every_folder(tmp_path: Path) -> None:
    """Each folder had a database of its own, and printed keys that no server knew."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    with data_folder() as data:
        home = data.parent
        data.rename(home / "musicgen")
        assert "`musicgen keys create NAME`" in _keys(one, home, "list").stderr
        assert _keys(one, home, "create", "me").returncode == 0
        revoked = _keys(one, home, "revoke", "me")
        assert revoked.returncode == 1 and "`musicgen keys list`" in revoked.stderr
        told = _keys(other, home, "list")
        assert "me" in told.stdout
        assert f"Data folder: {home}/musicgen, " in told.stderr
        assert not [*one.iterdir(), *other.iterdir()]
        # A database of release 0.1.0.
        (other / "outputs/postgres").mkdir(parents=True)
        (other / "outputs/postgres/PG_VERSION").write_text("18\n")
        (hint,) = [line for line in _keys(other, home, "list").stderr.splitlines() if "mv" in line]
        assert f"MUSICGEN_DATA_DIR={other}/outputs" in hint


@pytest.mark.parametrize(
    "arguments",
    [
        *(["create", b"caf\xe9"], ["revoke", b"\xff"], ["create", "x", "--days", "nan"]),
        *(["create", "x", "--days", "1e12"], ["create", "x", "--days", "0"]),
    ],
)
def test_what_the_database_cannot_hold_is_refused_in_one_line(
    tmp_path: Path, arguments: list[str | bytes]
) -> None:
    """A name that is not UTF-8, and an end after the year 9999, were tracebacks."""
    told = _keys(tmp_path, tmp_path, *arguments)
    assert told.returncode == 2 and "must be" in told.stderr
    assert "Traceback" not in told.stderr and not list(tmp_path.iterdir())


def test_no_password_is_shown(tmp_path: Path) -> None:
    url = "postgresql://me:a-secret@127.0.0.1:1/music?connect_timeout=1"
    code = (
        "import logging; from pathlib import Path; logging.basicConfig(level='INFO');"
        "from handlers.job_api.store.database import log_place;"
        f"log_place({url!r}, Path('x'))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "127.0.0.1:1/music" in told.stderr
    assert "a-secret" not in told.stderr
