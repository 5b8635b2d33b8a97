"""The native library of Arm processors, run by an emulator beside the one of this processor."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support import ROOT

SOURCES = ROOT / "musicgen" / "model" / "native"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FLAGS = PROJECT["tool"]["setuptools"]["ext-modules"][0]["extra-compile-args"]
EMULATOR = "qemu-aarch64-static"
COMPILERS = {
    "gcc": ["aarch64-linux-gnu-g++"],
    # The compiler of macOS. It takes headers and libraries from the cross compiler.
    "clang": ["clang++", "--target=aarch64-linux-gnu"],
}
PROCESSORS = {"cortex-a72": 1, "neoverse-n1": 2, "max": 3}
"""Emulated processors and their levels: NEON, dot product, i8mm."""

EXACT = ("product-int8", "product-int4", "exact-")
"""Begin the names of results with the same bits on every processor."""
Results = dict[tuple[str, int], np.ndarray]
"""Results by name of the case and level."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here"),
]


def _require(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")


def _compile(folder: Path, compiler: list[str]) -> Path:
    program = folder / f"check-{compiler[0]}"
    others = [path for path in SOURCES.glob("*.cpp") if path.name != "step.cpp"]
    sources = [*(ROOT / "tests" / "model").glob("native_*.cpp"), *others]
    warnings = ["-Wall", "-Wextra", "-Werror"] if compiler[0] != "g++" else ["-w"]
    if compiler[0] == "aarch64-linux-gnu-g++":
        # The program includes step.cpp, which is written to be compiled by itself.
        warnings.append("-Wno-subobject-linkage")
    command = [*compiler, *FLAGS, *warnings, "-static", f"-I{SOURCES}", *sources, "-o", program]
    subprocess.run(command, check=True)
    return program


def _run(command: list[str | Path]) -> Results:
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=300)
    results: Results = {}
    for line in found.stdout.splitlines():
        name, level, *numbers = line.split()
        bits = np.array([int(number, 16) for number in numbers], np.uint32)
        results[name, int(level)] = bits.view(np.float32)
    return results


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Return the results of this processor at its highest level, by name."""
    found = _run([_compile(tmp_path_factory.mktemp("here"), ["g++"])])
    if not found:
        pytest.skip("the native library does not run on this processor")
    _compare_levels(found)
    return {name: values for (name, level), values in sorted(found.items(), key=lambda x: x[0][1])}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Results]:
    """Return a function from compiler and processor to results."""
    programs: dict[str, Path] = {}
    folder = tmp_path_factory.mktemp("arm")

    def _emulate(compiler: str, processor: str) -> Results:
        _require(COMPILERS[compiler][0], "aarch64-linux-gnu-g++", EMULATOR)
        if compiler not in programs:
            programs[compiler] = _compile(folder, COMPILERS[compiler])
        return _run([EMULATOR, "-cpu", processor, programs[compiler]])

    return _emulate


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("compiler", COMPILERS)
def test_an_arm_processor_computes_the_same(
    run: Callable[[str, str], Results],
    wanted: dict[str, np.ndarray],
    compiler: str,
    processor: str,
) -> None:
    """Integer sums are exact; floats are added in another order."""
    found = run(compiler, processor)
    levels = range(1, PROCESSORS[processor] + 1)
    assert set(found) == {(name, level) for name in wanted for level in levels}
    _compare_levels(found)
    for (name, level), values in found.items():
        if name.startswith(EXACT):
            assert values.tobytes() == wanted[name].tobytes(), (name, level)
            continue
        # A value that is rounded to int8 or bfloat16 may round to its neighbour.
        most = 1e-3 if name.startswith(("step-int8", "step-int4", "step-float16")) else 1e-6
        error = np.linalg.norm(values - wanted[name]) / np.linalg.norm(wanted[name])
        assert error < most, (name, level, error)


def _compare_levels(results: Results) -> None:
    """Check that exact results have the same bits at all levels of a processor."""
    for (name, _), values in results.items():
        if name.startswith(EXACT):
            assert values.tobytes() == results[name, 1].tobytes(), name
