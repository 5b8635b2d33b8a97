"""Conversions of clips to other formats, kept on this machine's disk for a while.

PATH/RUN-1.mp3    clip 1 of a run as mp3

The folder holds at most `limit_bytes`; the file used longest ago goes first.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

LIMIT_BYTES = 512_000_000


class ClipCache:
    """Bounded folder of converted clips."""

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder = folder
        self._limit = limit_bytes

    def get_or_make(self, name: str, make: Callable[[Path], Path]) -> Path:
        """Return the file `name`, made by `make` if it is missing.

        `make` gets an empty folder, deleted afterwards, and returns a file in it.

        Raises: the errors of `make`.
        """
        target = self._folder / name
        try:
            # The time of the last use decides about deletion. The other one, of the last change,
            # is in the file's ETag.
            os.utime(target, ns=(time.time_ns(), target.stat().st_mtime_ns))
        except FileNotFoundError:
            self._folder.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(prefix=".", dir=self._folder) as scratch:
                make(Path(scratch)).replace(target)
            self._delete_oldest(target)
        return target

    def _delete_oldest(self, newest: Path) -> None:
        used: list[tuple[float, int, Path]] = []
        for path in self._folder.glob("[!.]*"):
            # Another process may delete files here too.
            with contextlib.suppress(FileNotFoundError):
                state = path.stat()
                used.append((state.st_atime, state.st_size, path))
        total = sum(size for _, size, _ in used)
        for _, size, path in sorted(used):
            if total <= self._limit:
                return
            if path != newest:
                path.unlink(missing_ok=True)
                total -= size
