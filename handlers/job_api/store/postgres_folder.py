"""Files of the embedded PostgreSQL in the data folder.

postgres/          PostgreSQL's own data, and its socket
postgres.lock      locked by the keeper as long as it lives; its text describes the keeper
postgres.socket    socket of the keeper; each user of the server keeps a connection to it
postgres.log       log of PostgreSQL and of the keeper
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

from handlers.job_api.store.life_lock import read_boot_id

SOCKET_PATH_MAX = 100
"""Bytes of a socket's path; the kernel allows 103 to 107."""
POSTGRES_SOCKET = ".s.PGSQL.5432"
_KEEPER_END_SECONDS = 10.0
LOCKED_STATUS, FAILED_STATUS = 75, 1
"""Exit statuses of a keeper: another one has the lock, or the server does not start."""
READY, FAILED = "ready", "failed"
"""First words of a keeper to its users; READY is a state of the lock's text, too."""


@dataclass(frozen=True)
class KeeperDescription:
    """Text of the lock. `state`: starting, ready or stopping. `boot_id`: of the keeper's kernel."""

    state: str
    host: str
    boot_id: str | None
    pid: int


class PostgresFolder:
    """Paths of the embedded server in `data_dir`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.data = self.data_dir / "postgres"
        self.lock = self.data_dir / "postgres.lock"
        self.keeper_socket = self.data_dir / "postgres.socket"
        self.log = self.data_dir / "postgres.log"

    @property
    def postgres_socket(self) -> Path:
        """Path of PostgreSQL's socket, short enough for the kernel."""
        return shorten_socket_path(self.data / POSTGRES_SOCKET)

    @property
    def url(self) -> str:
        """Connection URL."""
        return f"postgresql://postgres:@/postgres?host={quote(str(self.postgres_socket.parent))}"

    def describe_keeper(self) -> KeeperDescription | None:
        """Return the keeper of the lock's text, dead or alive, or None."""
        try:
            return KeeperDescription(**json.loads(self.lock.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def delete(self) -> None:
        """Delete the database, unless a keeper runs on for other users."""
        if not self.data_dir.is_dir():
            return
        # A keeper without users ends in a moment.
        end = time.monotonic() + _KEEPER_END_SECONDS
        while (descriptor := self.acquire_lock()) is None:
            if time.monotonic() > end:
                return
            time.sleep(0.05)
        try:
            shutil.rmtree(self.data, ignore_errors=True)
            for path in (self.keeper_socket, self.log, self.lock):
                path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def acquire_lock(self) -> int | None:
        """Return the locked file's descriptor, or None if another process has the lock.

        Raises: `OSError`, also for a file system without locks.
        """
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def write_description(descriptor: int, state: str) -> None:
    """Write a new state of this process as the lock's text."""
    own = KeeperDescription(state, socket.gethostname(), read_boot_id(), os.getpid())
    text = json.dumps(asdict(own)).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def shorten_socket_path(path: Path) -> Path:
    """Return a path to the same socket with at most `SOCKET_PATH_MAX` bytes, through a link.

    PostgreSQL and libpq take a comma in the path for a list of paths.

    Raises: `OSError` if another user owns the folder of links.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_MAX and "," not in str(path):
        return path
    links = Path(tempfile.gettempdir()) / f"musicgen-{os.getuid()}"
    links.mkdir(mode=0o711, exist_ok=True)
    state = links.lstat()
    if state.st_uid != os.getuid() or links.is_symlink():
        raise PermissionError(f"{links} belongs to another user")
    link = links / hashlib.sha256(os.fsencode(path.parent)).hexdigest()[:16]
    if not link.is_symlink():
        for other in links.iterdir():
            if not other.exists():
                other.unlink(missing_ok=True)  # of a deleted folder
        temporary = link.with_suffix(f".{os.getpid()}")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(path.parent)
        temporary.replace(link)
    return link / path.name


def connect(path: Path) -> socket.socket | None:
    """Return a connection to a Unix socket, or None if nobody listens."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(shorten_socket_path(path)))
    except OSError:
        connection.close()
        return None
    return connection
