"""The native library of Arm processors, run by an emulator beside the one of this processor."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.native_check import (
    Results,
    compare_levels,
    compare_results,
    compile_check,
    run_check,
    take_highest,
)

EMULATOR = "qemu-aarch64-static"
COMPILERS = {
    "gcc": ["aarch64-linux-gnu-g++"],
    # The compiler of macOS. It takes headers and libraries from the cross compiler.
    "clang": ["clang++", "--target=aarch64-linux-gnu"],
}
PROCESSORS = {"cortex-a72": 1, "neoverse-n1": 2, "max": 3}
"""Emulated processors and their levels: NEON, dot product, i8mm."""

pytestmark = pytest.mark.slow


def _require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")


@pytest.fixture(scope="module")
def wanted(native_check: Path) -> dict[str, np.ndarray]:
    """Return the results of this processor at its highest level, by name."""
    found = run_check([native_check])
    if not found:
        pytest.skip("the native library does not run on this processor")
    compare_levels(found)
    return take_highest(found)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Results]:
    """Return a function from compiler and processor to results."""
    programs: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("arm")

    def _emulate(compiler: str, processor: str) -> Results:
        _require(COMPILERS[compiler][0], "aarch64-linux-gnu-g++", EMULATOR)
        if compiler not in programs:
            programs[compiler] = compile_check(folder, COMPILERS[compiler])
        return run_check([EMULATOR, "-cpu", processor, programs[compiler]])

    return _emulate


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_an_arm_processor_computes_the_same(
    run: Callable[[str, str], Results],
    wanted: dict[str, np.ndarray],
    compiler: str,
    processor: str,
) -> None:
    """A kernel with NEON instructions can err where the one of this processor does not."""
    compare_results(run(compiler, processor), wanted, range(1, PROCESSORS[processor] + 1))
