"""Writing weights where others may write too: one at a time, and an error that says what to do."""

from __future__ import annotations

import errno
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from musicgen.errors import DiskFull, NotWritable

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock of the file `target`, which need not be there; waits for whoever has it.

    The system lets go of it when a process ends, however it does. The empty file that it hangs on
    stays, because another may wait on it.
    """
    with target.with_name(f".{target.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def explained(folder: Path, advice: str) -> Iterator[None]:
    """Turns an `OSError` about `folder` into `DiskFull` or `NotWritable`, with `advice`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DiskFull(f"no room in {folder} ({reason}): {advice}") from error
        raise NotWritable(f"cannot write to {folder} ({reason}): {advice}") from error
