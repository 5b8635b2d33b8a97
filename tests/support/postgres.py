"""An empty PostgreSQL data folder to copy, made once by each process of the tests."""

from __future__ import annotations

import atexit
import functools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.support import ROOT

# No test needs its data after a crash of this machine.
QUICK = """
fsync = off
full_page_writes = off
synchronous_commit = off
shared_buffers = 16MB
"""
MAKE = """
import sys
from pathlib import Path
from handlers.job_api.store.embedded_postgres import EmbeddedServer
EmbeddedServer(Path(sys.argv[1]))
"""


def copy_empty_database(data: Path) -> None:
    """Put an empty database into a data folder, as the embedded server would make it."""
    data.mkdir(parents=True)
    # `cp` keeps the owner: PostgreSQL takes no folder of another's.
    subprocess.run(["cp", "-a", str(_template() / "postgres"), str(data)], check=True)


def find_postgres(data: Path) -> psutil.Process:
    """Return the server on a data folder."""
    return psutil.Process(int((data / "postgres" / "postmaster.pid").read_text().split()[0]))


def find_keeper(data: Path) -> psutil.Process:
    """Return the keeper of that server."""
    return psutil.Process(json.loads((data / "postgres.lock").read_text())["pid"])


@functools.cache
def _template() -> Path:
    """Return a data folder whose embedded server has started and stopped once."""
    folder = Path(tempfile.mkdtemp(prefix="musicgen-database-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    subprocess.run([sys.executable, "-c", MAKE, str(folder)], cwd=ROOT, check=True, timeout=120)
    with (folder / "postgres/postgresql.conf").open("a") as settings:
        settings.write(QUICK)
    return folder
