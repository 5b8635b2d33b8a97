"""Errors of folders that are full or cannot be written to, and folders for temporary files."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from musicgen.errors import DiskFull, NotWritable, StorageError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
})  # fmt: skip


def find_temporary_folder() -> Path:
    """Return the folder for temporary files. Raises: `NotWritable` where there is none."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise NotWritable(
            "no folder for temporary files can be written to. Set TMPDIR to one that this "
            "process's user may write to."
        ) from error


def make_temporary_folder(prefix: str) -> TemporaryDirectory[str]:
    """Make a temporary folder, deleted on leaving its context.

    Raises: `DiskFull`, `NotWritable`.
    """
    with translate_full_disk(find_temporary_folder()):
        return TemporaryDirectory(prefix=prefix)


def check_replaceable(path: Path) -> None:
    """Refuse a device or pipe, which the rename of a finished file would remove.

    Raises: `NotWritable`.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise NotWritable(f"{path} is a device or a pipe, which no file may replace. Name a file.")


@contextmanager
def translate_full_disk(folder: Path) -> Iterator[None]:
    """Turn errors of a full or read-only disk into a `StorageError`; let other errors pass.

    For work that also uses a network, whose errors are an OSError too.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL | _FORBIDDEN:
            raise
        with translate_disk_errors(folder):
            raise


@contextmanager
def translate_disk_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError about `folder` into a `StorageError` with advice."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _FULL:
            raise DiskFull(
                f"no space left in {folder} ({reason}). Free some space or choose another folder."
            ) from error
        if error.errno in _FORBIDDEN:
            raise NotWritable(
                f"cannot write to {folder} ({reason}). Give this process's user the right to write "
                "there, or choose another folder."
            ) from error
        raise StorageError(f"cannot store a clip in {folder}: {reason}.") from error
