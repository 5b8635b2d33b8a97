"""State of the system's page cache before a start: cold or warm."""

from __future__ import annotations

import os
import site
import sysconfig
from collections.abc import Iterable
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")


def make_cold(files: Iterable[Path]) -> str:
    """Drop `files`, the installed packages and the standard library from the page cache.

    As root, drop the whole cache. Otherwise drop each file; pages mapped by other processes stay.
    Returns: the name of the method.
    """
    os.sync()
    try:
        DROP.write_text("3\n")
    except OSError:
        for path in (*_list_packages(), *files):
            _drop(path)
        return "posix_fadvise"
    return "drop_caches"


def make_warm(files: Iterable[Path]) -> None:
    """Read `files` into the page cache; the first start reads the packages."""
    for path in files:
        with path.open("rb") as file:
            while file.read(2**24):
                pass


def files_of(model: Path) -> list[Path]:
    """Return the files of a model: a packed file, or a folder's files."""
    return [model] if model.is_file() else [path for path in model.iterdir() if path.is_file()]


def _list_packages() -> Iterable[Path]:
    folders = {*site.getsitepackages(), sysconfig.get_path("stdlib")}
    return (path for folder in folders for path in Path(folder).rglob("*") if path.is_file())


def _drop(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
