"""The job API as it is started: processes on a free port of this machine, and a way to ask them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

from tests.support import ROOT
from tests.support.api_caller import ApiCaller
from tests.support.commands import drop_overrides
from tests.support.postgres import copy_empty_database

START_SECONDS, STOP_SECONDS = 90.0, 60.0


@contextmanager
def data_folder(*, with_database: bool = True) -> Iterator[Path]:
    """A new folder, not below pytest's: those are closed to the user that PostgreSQL runs as where
    tests are run by root. Its database is a copy of an empty one, which starts sooner than a new
    one; without a database the folder itself is not made.
    """
    with TemporaryDirectory(prefix="musicgen-data-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        data = Path(folder) / "data"
        if with_database:
            copy_empty_database(data)
        yield data


def log_path(folder: Path) -> Path:
    """Of the server with this data folder."""
    return folder.with_name(f"{folder.name}.log")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class JobServer(ApiCaller):
    """`http` asks it; `process` is what was started."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]
    http: httpx.Client

    @property
    def log(self) -> str:
        """All that the server's processes have written."""
        return log_path(self.folder).read_text(errors="replace")


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """Of a server in `folder`; nothing of this machine's own settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_")}
    kept.pop("DATABASE_URL", None)
    own = {"MUSICGEN_DATA_DIR": str(folder), "MUSICGEN_THREADS": "1", "MUSICGEN_MODEL": "demo"}
    return {**kept, **own, **{name: str(value) for name, value in settings.items()}}


def start(
    part: str, env: dict[str, str], log: Path, *options: str, bound: bool = False
) -> subprocess.Popen[bytes]:
    """`bound`: permission bits bind the server even as root."""
    command = [sys.executable, "-m", "handlers.cli", "serve", part, *options]
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            stdout=file,
            stderr=file,
            preexec_fn=drop_overrides if bound and os.geteuid() == 0 else None,
        )


def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> int:
    """Asks a process to stop, and waits; its status."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        for child in [*psutil.Process(process.pid).children(recursive=True), process]:
            child.kill()
        raise


@contextmanager
def job_server(
    folder: Path,
    part: str = "all",
    *,
    workers: int = 1,
    key: str | None = None,
    bound: bool = False,
    **settings: object,
) -> Iterator[JobServer]:
    """A server that is ready; of `all` with a worker that has loaded its model."""
    port, log = free_port(), log_path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--port", str(port), *(["--workers", str(workers)] if part == "all" else [])]
    url = f"http://127.0.0.1:{port}"
    process = start(part, environment(folder, **settings), log, *options, bound=bound)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=30) as http:
            wait_until_ready(http, process, log, workers if part == "all" else 0)
            yield JobServer(folder, url, process, http)
    finally:
        stop(process)


def wait_until_ready(
    http: httpx.Client, process: subprocess.Popen[bytes], log: Path, workers: int
) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            answer = http.get("/readyz")
            if answer.status_code == 200 and answer.json().get("workers", -1) >= workers:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready: {log.read_text()[-2000:]}")


def create_key(server: JobServer, name: str, *scopes: str) -> str:
    """Create an API key by the operator's command, and return it."""
    options = [part for scope in scopes for part in ("--scope", scope)]
    told = subprocess.run(
        [sys.executable, "-m", "handlers.cli", "keys", "create", name, *options],
        env=environment(server.folder),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return told.split("key: ")[1].split()[0]
