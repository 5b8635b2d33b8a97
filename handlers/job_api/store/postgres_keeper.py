"""Keeper of the embedded PostgreSQL: a process between the server and its users.

The keeper locks the data folder, runs PostgreSQL as its child, and stops it when the last user has
gone. Each user keeps a connection to the keeper's socket. The kernel closes it at the user's death,
whatever ends it. Containers on one machine share a server in a common volume in this way, because
neither locks nor sockets depend on process numbers.

PostgreSQL stops if the keeper is killed. The next keeper restarts it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from handlers.job_api.store.postgres_folder import (
    FAILED,
    FAILED_STATUS,
    LOCKED_STATUS,
    READY,
    PostgresFolder,
    shorten_socket_path,
    write_description,
)
from handlers.job_api.store.postgres_server import PostgresError, PostgresProcess

FIRST_USER_SECONDS = 15.0
"""Time for the first user to connect, before a keeper without users ends."""
_POLL_SECONDS = 0.2
_RESTARTS_MAX = 5
_HEALTHY_SECONDS = 60.0


class Keeper:
    """Keeper of the server in `folder`, whose lock is `lock`."""

    def __init__(self, folder: PostgresFolder, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._users: set[socket.socket] = set()
        self._last: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self._server = PostgresProcess(folder)
        path = shorten_socket_path(folder.keeper_socket)
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(128)
        self._selector.register(self._listener, selectors.EVENT_READ)

    def run(self) -> int:
        """Keep the server until its last user has gone, and return the exit status."""
        write_description(self._lock, "starting")
        try:
            self._server.start()
        except (PostgresError, OSError) as error:
            self._refuse(str(error))
            return FAILED_STATUS
        write_description(self._lock, READY)
        try:
            self._serve()
        except (PostgresError, OSError) as error:
            sys.stderr.write(f"keeper: {error}\n")
            return FAILED_STATUS
        finally:
            write_description(self._lock, "stopping")
            self._close_listener()
            self._server.stop()
        return 0

    def _serve(self) -> None:
        deadline: float | None = time.monotonic() + FIRST_USER_SECONDS
        while self._users or (deadline is not None and time.monotonic() < deadline):
            for key, _ in self._selector.select(_POLL_SECONDS):
                if key.fileobj is self._listener:
                    self._accept()
                    deadline = None
                else:
                    assert isinstance(key.fileobj, socket.socket)
                    self._drop_if_closed(key.fileobj)
            if not self._server.is_running():
                self._server.restart(_RESTARTS_MAX, _HEALTHY_SECONDS)

    def _accept(self) -> None:
        user, _ = self._listener.accept()
        user.setblocking(False)
        self._users.add(user)
        self._selector.register(user, selectors.EVENT_READ)
        with contextlib.suppress(OSError):
            user.send(f"{READY}\n".encode())

    def _drop_if_closed(self, user: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                if user.recv(64):
                    return
            except ConnectionError:
                pass
            self._selector.unregister(user)
            self._users.discard(user)
            # The last user waits for the end of its connection: the server has stopped by then.
            self._last = user
            if self._users:
                user.close()

    def _refuse(self, problem: str) -> None:
        """Tell all waiting users why the server does not start."""
        deadline = time.monotonic() + 1.0
        self._listener.setblocking(False)
        while time.monotonic() < deadline:
            try:
                user, _ = self._listener.accept()
            except BlockingIOError:
                time.sleep(0.05)
                continue
            with contextlib.suppress(OSError):
                user.send(f"{FAILED} {' '.join(problem.split())}\n".encode())
            user.close()
        self._close_listener()

    def _close_listener(self) -> None:
        self._folder.keeper_socket.unlink(missing_ok=True)
        self._selector.unregister(self._listener)
        self._listener.close()


def main(data_dir: str) -> int:
    """Run a keeper; the status is `LOCKED_STATUS` if the folder has one."""
    folder = PostgresFolder(Path(data_dir))
    try:
        lock = folder.acquire_lock()
        if lock is None:
            return LOCKED_STATUS
        log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        keeper = Keeper(folder, lock)
    except OSError as error:
        advice = "The file system must allow locks and sockets, and this user must own the folder"
        sys.stdout.write(f"{error.strerror or error}. {advice}\n")
        return FAILED_STATUS
    # Users wait for the end of this output, then connect. The terminal is theirs, too.
    os.dup2(log, 1)
    os.dup2(log, 2)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # A manager of services may send these to all processes at once, and users need the
        # server until their end.
        signal.signal(number, signal.SIG_IGN)
    _name_process()
    return keeper.run()


def _name_process() -> None:
    """Show this process as `musicgen-pg` in process lists."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, b"musicgen-pg", 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
