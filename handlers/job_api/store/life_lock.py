"""Locks that show which workers of this machine still live.

The kernel frees a lock at its owner's death, whatever ends it. So workers on one machine need not
wait for the timeout of a dead one. The locks lie in the data folder, because processes in other
containers have other process numbers. A lock of another machine proves nothing, because some
network file systems keep locks on one machine only.
"""

from __future__ import annotations

import fcntl
import logging
import time
from pathlib import Path
from typing import IO

_FOLDER = "workers"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ABANDONED_SECONDS = 24 * 3600.0

logger = logging.getLogger(__name__)


def read_boot_id() -> str | None:
    """Return the identity of the running kernel, shared by all its containers, or None."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return None


class LifeLock:
    """Lock of one worker in `data_dir`, held until `release` or the end of the process.

    Without a kernel's identity or a writable folder there is no lock, and the worker's death is
    noticed by its silence.
    """

    def __init__(self, data_dir: Path, worker: str) -> None:
        self._path = data_dir / _FOLDER / worker
        self._file: IO[str] | None = None
        boot_id = read_boot_id()
        if boot_id is None:
            return
        # Under a hidden name until it is locked: a free lock means a dead worker.
        hidden = self._path.with_name(f".{worker}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = hidden.open("w")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.write(boot_id)
            self._file.flush()
            hidden.rename(self._path)
        except OSError as error:
            logger.info("No lock shows that this worker lives (%s); only its heartbeats do.", error)

    def release(self) -> None:
        """Delete the lock of a worker that has stopped."""
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def find_dead_workers(data_dir: Path) -> list[str]:
    """Return the names of workers that died on this machine and have not been forgotten yet."""
    boot_id = read_boot_id()
    if boot_id is None:
        return []
    return [path.name for path in _list(data_dir) if _is_dead(path, boot_id)]


def forget_workers(data_dir: Path, names: list[str]) -> None:
    """Delete the locks of dead workers."""
    for name in names:
        (data_dir / _FOLDER / name).unlink(missing_ok=True)


def delete_old_locks(data_dir: Path) -> None:
    """Delete free locks of other machines, and of earlier starts of this one, after a day."""
    for path in _list(data_dir, "*") + _list(data_dir, ".*"):
        try:
            is_old = time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
            if is_old and _is_free(path):
                path.unlink(missing_ok=True)
        except OSError:
            continue


def _list(data_dir: Path, pattern: str = "[!.]*") -> list[Path]:
    return list((data_dir / _FOLDER).glob(pattern))


def _is_dead(path: Path, boot_id: str) -> bool:
    try:
        return path.read_text() == boot_id and _is_free(path)
    except OSError:
        return False


def _is_free(path: Path) -> bool:
    """Return whether no process holds the lock. Raises: `OSError`."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
