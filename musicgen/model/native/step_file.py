"""The compiled step as a file: its place and its instruction set. Imports no torch."""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
from pathlib import Path

AVX2, AVX512, VNNI = 1, 2, 3
"""Instruction set levels; each includes the previous ones."""
LEVEL_NAMES = {0: "no AVX2", AVX2: "AVX2", AVX512: "AVX-512", VNNI: "AVX-512 VNNI"}
MACHINES = ("x86_64", "AMD64")

logger = logging.getLogger(__name__)


def find_step_file() -> Path | None:
    """Return the compiled step, or None if it was not compiled or the processor is no x86-64."""
    if platform.machine() not in MACHINES:
        return None
    return next(iter(sorted(Path(__file__).parent.glob("_step*.so"))), None)


def read_level(path: Path) -> int:
    """Return the instruction set level used on this machine. Raises: OSError if it does not load.

    It does not load under an older C library than the one it was compiled with.
    """
    function = ctypes.CDLL(str(path)).native_level
    function.restype, function.argtypes = ctypes.c_int, ()
    return int(function())


def has_native_step() -> bool:
    """Whether this machine can run the compiled step."""
    return isinstance(_find_level(), int)


def describe_step() -> str:
    """Return the instruction set in use, or the reason for the missing step."""
    level = _find_level()
    return LEVEL_NAMES[level] if isinstance(level, int) else f"none ({level})"


@functools.cache
def _find_level() -> int | str:
    """Return the instruction set level, or the reason against the step.

    The instructions are chosen at run time, so a step compiled on another machine runs here.
    """
    if platform.machine() not in MACHINES:
        return f"the processor is {platform.machine()}, not x86-64"
    path = find_step_file()
    if path is None:
        return "not compiled: install this package with a C++ compiler"
    try:
        level = read_level(path)
    except OSError as error:
        # Such as a step copied from a machine with a newer libstdc++.
        logger.warning("The native step does not load, so decoding is slower: %s", error)
        return f"cannot be loaded: {error}"
    return level if level >= AVX2 else "the processor has no AVX2"
