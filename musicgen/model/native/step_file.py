"""The compiled step as a file: its place and its instruction set. Imports no torch."""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
from collections.abc import Mapping
from pathlib import Path

from musicgen.errors import OutdatedLibrary

Signatures = Mapping[str, tuple[type | None, tuple[type, ...]]]
"""Types of the result and of the arguments of native functions by name."""
AVX2, AVX_VNNI, AVX512, VNNI, AMX = 1, 2, 3, 4, 5
"""Instruction set levels of x86-64; processors with AVX-512 may lack AVX-VNNI."""
NEON, DOTPROD, I8MM = 1, 2, 3
"""The levels of 64-bit Arm processors, which all have NEON."""
LEVEL_NAMES = {
    0: "no AVX2",
    AVX2: "AVX2",
    AVX_VNNI: "AVX-VNNI",
    AVX512: "AVX-512",
    VNNI: "AVX-512 VNNI",
    AMX: "AMX",
}
ARM_LEVEL_NAMES = {NEON: "NEON", DOTPROD: "NEON dot product", I8MM: "NEON i8mm"}
ARM_MACHINES = ("aarch64", "arm64")
MACHINES = ("x86_64", "AMD64", *ARM_MACHINES)

logger = logging.getLogger(__name__)


def find_step_file() -> Path | None:
    """Return the compiled step, or None without one or on another kind of processor."""
    if platform.machine() not in MACHINES:
        return None
    return next(iter(sorted(Path(__file__).parent.glob("_step*.so"))), None)


def name_level(level: int) -> str:
    """Return the name of an instruction set level of this machine."""
    names = ARM_LEVEL_NAMES if platform.machine() in ARM_MACHINES else LEVEL_NAMES
    return names[level]


def declare_functions(library: ctypes.CDLL, signatures: Signatures) -> None:
    """Declare the types of native functions. Raises: `OutdatedLibrary` if one is missing."""
    for name, (result, arguments) in signatures.items():
        try:
            function = getattr(library, name)
        except AttributeError as error:
            raise OutdatedLibrary(library._name, name) from error
        function.restype, function.argtypes = result, arguments


def read_level(path: Path) -> int:
    """Return the instruction set level used on this machine.

    Raises: OSError if it does not load, as under an older C library than at its compilation;
    `OutdatedLibrary`.
    """
    library = ctypes.CDLL(str(path))
    declare_functions(library, {"native_level": (ctypes.c_int, ())})
    return int(library.native_level())


def has_native_step() -> bool:
    """Whether this machine can run the compiled step."""
    return isinstance(_find_level(), int)


def describe_step() -> str:
    """Return the instruction set in use, or the reason for the missing step."""
    level = _find_level()
    return name_level(level) if isinstance(level, int) else f"none ({level})"


@functools.cache
def _find_level() -> int | str:
    """Return the instruction set level, or the reason against the step.

    The instructions are chosen at run time, so a step compiled on another machine runs here.
    """
    if platform.machine() not in MACHINES:
        return f"the processor is {platform.machine()}, neither x86-64 nor 64-bit Arm"
    path = find_step_file()
    if path is None:
        return "not compiled: run pip install -e . with a C++ compiler"
    try:
        level = read_level(path)
    except OSError as error:
        # Such as a step copied from a machine with a newer libstdc++.
        logger.warning("The native step does not load, so decoding is slower: %s", error)
        return f"cannot be loaded: {error}"
    return level if level >= AVX2 else "the processor has no AVX2"
