"""Clips in a local folder: each appears whole under its name, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from uuid import uuid4

from musicgen.errors import DiskFull, NotWritable, StorageError
from musicgen.storage.base import ClipFile, ClipName, put_all_or_none

RESERVE_BYTES = 16 * 2**20
"""Left free beside the expected clips: logs and other jobs write to the same disk."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
})  # fmt: skip


def dated_key(name: ClipName) -> str:
    """ "2025-01-31/JOB/clip.wav", or "clip-1.wav" and so on of several; the date is UTC."""
    day = datetime.now(timezone.utc).date().isoformat()
    number = f"-{name.index + 1}" if name.count > 1 else ""
    return f"{day}/{name.job_id}/clip{number}.{name.extension}"


class LocalStorage:
    """Stores clips under `folder`, at the relative path that `key` makes of a clip's name."""

    def __init__(self, folder: Path, key: Callable[[ClipName], str] = dated_key) -> None:
        self.folder = folder
        self._key = key

    def prepare(self, expected_bytes: int) -> None:
        """Makes the folder and proves, by writing a file, that clips can be kept in it.

        Raises: `NotWritable`; `DiskFull` when less than `expected_bytes` and a reserve of 16 MiB
        is free; `StorageError` for another failure of the file system.
        """
        with explained(self.folder):
            # Permission bits do not tell: root, read-only mounts and access lists overrule them.
            probe = self.folder / f".probe-{uuid4().hex}"
            write_atomically(probe, [b"probe"])
            probe.unlink()
            disk = shutil.disk_usage(self.folder)
        # Some network mounts report no size at all; only a real disk can be said to be full.
        if disk.total and disk.free < expected_bytes + RESERVE_BYTES:
            raise DiskFull(
                f"{self.folder} has {disk.free / 1e6:.1f} MB free, but "
                f"{(expected_bytes + RESERVE_BYTES) / 1e6:.1f} MB are needed: free some space "
                "or choose another folder"
            )

    def put_all(self, files: Sequence[ClipFile]) -> list[str]:
        """Raises: what `put` raises; then no clip of `files` is left."""
        return put_all_or_none(self, files)

    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str:
        """Writes the clip; a file system has no place for its type and its metadata.

        Returns: its path. Raises: `DiskFull`, `NotWritable`, `StorageError`, the last also for a
        key that would leave the folder.
        """
        key = self._key(name)
        if any(part in ("", ".", "..") for part in key.split("/")) or "\0" in key:
            raise StorageError(f"the key {key!r} does not name a file inside {self.folder}")
        path = self.folder / key
        with explained(path.parent):
            write_atomically(path, blocks)
        return str(path)

    def remove(self, address: str) -> None:
        """Deletes the file, and the folders below `folder` that it leaves empty.

        Raises: `StorageError`, also for an address outside the folder.
        """
        path = Path(address)
        if self.folder not in path.parents or ".." in path.relative_to(self.folder).parts:
            raise StorageError(f"{address!r} is not a clip in {self.folder}: nothing was deleted")
        with explained(path.parent):
            path.unlink(missing_ok=True)
        for parent in path.parents:
            if self.folder not in parent.parents:
                return
            with suppress(OSError):
                parent.rmdir()


def write_atomically(path: Path, blocks: Iterable[bytes]) -> None:
    """Writes `blocks` under a temporary name in the folder of `path`, then renames it.

    Missing folders are made. On failure neither a part of the file nor an empty folder that was
    made for it remains. Raises: OSError.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, blocks)
    except BaseException:
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()
        raise


def _replace(path: Path, blocks: Iterable[bytes]) -> None:
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.writelines(blocks)
            file.flush()
            # Without it a power cut can leave the new name on a file without its bytes.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turns an OSError about `folder` into the `StorageError` that says what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DiskFull(
                f"no room in {folder} ({reason}): free some space or choose another folder"
            ) from error
        if error.errno in _FORBIDDEN:
            raise NotWritable(
                f"cannot write to {folder} ({reason}): make it a folder that the user of this "
                "process may write to, or choose another one"
            ) from error
        raise StorageError(f"cannot keep a clip in {folder}: {reason}") from error
