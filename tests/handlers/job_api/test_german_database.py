"""A database server that speaks German: its refusals are told apart by their codes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from handlers.job_api.store.reachability import check_database
from handlers.job_api.store.sqlstate import read_sqlstate
from musicgen.errors import DatabaseUnavailable, SettingsError
from tests.support.external_postgres import PASSWORD, external_postgres

CATALOG = "/usr/share/locale/de/LC_MESSAGES"
LOCALE = "de_DE.UTF-8"
ROLES = (
    f"CREATE ROLE barred NOLOGIN PASSWORD '{PASSWORD}'",
    f"CREATE ROLE guest LOGIN PASSWORD '{PASSWORD}'",
    f"CREATE ROLE crowded LOGIN CONNECTION LIMIT 0 PASSWORD '{PASSWORD}'",
    "CREATE DATABASE closed",
    "REVOKE CONNECT ON DATABASE closed FROM public",
)


def _find_programs() -> Path | None:
    """The newest server of Debian with a German catalogue: wheels have none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    spoken = [each for each in found if Path(f"{CATALOG}/postgres-{each.parent.name}.mo").exists()]
    return spoken[-1] if spoken else None


@pytest.fixture(scope="module")
def german() -> Iterator[str]:
    programs = _find_programs()
    if programs is None or shutil.which("localedef") is None:
        pytest.skip("needs Debian's postgresql and locales")
    with TemporaryDirectory(prefix="musicgen-german-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = subprocess.run(
            ["localedef", "-i", "de_DE", "-f", "UTF-8", folder / LOCALE], capture_output=True
        )
        if made.returncode:
            pytest.skip("needs the sources of Debian's locales")
        env = {"LOCPATH": name}
        with external_postgres(folder, programs, env, "-c", f"lc_messages={LOCALE}") as url:
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in ROLES:
                    connection.execute(statement.encode())
            yield url


def _change(
    url: str, user: str = "musicgen", password: str = PASSWORD, name: str = "musicgen"
) -> str:
    place = url.rpartition("@")[2].partition("/")[0]
    return f"postgresql://{user}:{password}@{place}/{name}"


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"password": "wrong"}, "28P01", "refuses the user or the password"),
        ({"name": "nothing"}, "3D000", "has no such database"),
        ({"user": "guest", "name": "closed"}, "42501", "does not let this user into the database"),
        ({"user": "barred"}, "28000", "does not let this user in"),
    ],
)
def test_a_permanent_refusal_is_one_in_any_language(
    german: str, change: dict[str, str], code: str, says: str
) -> None:
    """Only English texts were known, so the start waited its whole time for a wrong password."""
    url = _change(german, **change)
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(url)
    assert " not " not in str(raised.value) and "failed for user" not in str(raised.value)
    with pytest.raises(SettingsError, match=says):
        check_database(url)
    assert read_sqlstate(url, 3) == code


def test_a_server_without_room_is_waited_for(german: str) -> None:
    url = _change(german, user="crowded")
    with pytest.raises(DatabaseUnavailable, match="Verbindungen"):
        check_database(url)
    assert read_sqlstate(url, 3) == "53300"


def test_a_good_connection_has_no_code(german: str) -> None:
    assert read_sqlstate(german, 3) is None
    assert check_database(german).version >= 13
