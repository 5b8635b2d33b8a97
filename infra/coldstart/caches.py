"""What is in the system's page cache before a start: nothing of it, or all of it."""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterable
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")


def make_cold(files: Iterable[Path]) -> str:
    """Takes `files`, the installed packages and the standard library out of the page cache; says
    how. With the right to, all that the system has cached; else each file, which leaves what
    others have mapped."""
    os.sync()
    try:
        DROP.write_text("3\n")
    except OSError:
        for path in (*_installed(), *files):
            _forget(path)
        return "posix_fadvise"
    return "drop_caches"


def make_warm(files: Iterable[Path]) -> None:
    """Reads `files`; packages are warm after a first start."""
    for path in files:
        with path.open("rb") as file:
            while file.read(2**24):
                pass


def files_of(model: Path) -> list[Path]:
    return [model] if model.is_file() else [path for path in model.iterdir() if path.is_file()]


def _installed() -> Iterable[Path]:
    folders = {*site.getsitepackages(), sysconfig.get_path("stdlib")}
    return (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())


def _forget(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
