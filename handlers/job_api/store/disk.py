"""Disk of the data folder: its room, errors without its paths, and deletion of old files."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from musicgen.disk_errors import translate_disk_errors
from musicgen.errors import DiskFull, StorageError

logger = logging.getLogger(__name__)


def check_room(folder: Path, size: int, reserve: int, work: str) -> None:
    """Check that `reserve` bytes stay free beside a file of `size`.

    `work`: a noun for the error. Raises: `DiskFull`.
    """
    disk = shutil.disk_usage(folder)
    # Some network mounts report a size of zero: they are not full.
    if disk.total and disk.free < size + reserve:
        raise _build_full(work)


@contextmanager
def hide_disk_errors(folder: Path, work: str) -> Iterator[None]:
    """Turn an OSError about `folder` into a `StorageError`, and log its reason.

    Callers may not see the folder. `work`: a noun for the error, such as "another upload".
    """
    try:
        yield
    except OSError:
        try:
            with translate_disk_errors(folder):
                raise
        except StorageError as error:
            logger.error("No place for %s: %s", work, error)
            if isinstance(error, DiskFull):
                raise _build_full(work) from None
            text = f"the server cannot store {work}. Its log has the reason."
            raise type(error)(text, is_for_callers=True) from None


def delete_old_files(
    folder: Path, seconds: float, pattern: str = "*", kept: Collection[str] = ()
) -> None:
    """Delete files and folders not in `kept`, `seconds` after their last change."""
    for path in folder.glob(pattern):
        # Another process may delete it first.
        with suppress(FileNotFoundError):
            if path.name not in kept and time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _build_full(work: str) -> DiskFull:
    text = f"the server has no room for {work}. Try again later."
    return DiskFull(text, is_for_callers=True)
