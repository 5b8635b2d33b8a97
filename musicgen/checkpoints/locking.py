"""Locks and clear errors for weights in a folder shared by several processes."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from musicgen.errors import DiskFull, NotWritable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def lock_of(target: Path) -> FileLock:
    """Return the lock of the file `target`, which need not exist; acquiring it waits.

    The system releases the lock when its process ends, even if it is killed.
    """
    return FileLock(target.with_name(f".{target.name}.lock"))


@contextmanager
def translate_disk_errors(folder: Path, advice: str) -> Iterator[None]:
    """Turn an `OSError` into `DiskFull` or `NotWritable`, with the folder and `advice`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DiskFull(f"no room in {folder} ({reason}): {advice}") from error
        raise NotWritable(f"cannot write to {folder} ({reason}): {advice}") from error
