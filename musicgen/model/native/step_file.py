"""The compiled step as a file: its place and its instruction set. Imports no torch."""

from __future__ import annotations

import ctypes
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
    path = find_step_file()
    if path is None:
        return False
    try:
        return read_level(path) >= AVX2
    except OSError as error:
        logger.warning("The native step does not load, so decoding is slower: %s", error)
        return False
