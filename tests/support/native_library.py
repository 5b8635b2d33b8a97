"""The native library with a given number of threads, and its level after a test."""

from __future__ import annotations

import functools

from musicgen.model.native.library import Library
from musicgen.model.native.step_file import AMX, find_step_file


@functools.cache
def open_library(threads: int) -> Library:
    """Open the compiled library with a pool of its own."""
    path = find_step_file()
    assert path is not None
    library = Library(path)
    library.threads = threads
    return library


def restore_level() -> None:
    """Use all instructions of this processor again."""
    open_library(1).functions.native_limit(AMX)
