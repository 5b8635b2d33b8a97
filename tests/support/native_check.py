"""The C++ program `tests/model/native_check.cpp`: how it is compiled, and how results compare."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tests.support import ROOT

SOURCES = ROOT / "musicgen" / "model" / "native"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FLAGS = PROJECT["tool"]["setuptools"]["ext-modules"][0]["extra-compile-args"]

EXACT = ("product-int8", "product-int4", "exact-")
"""Begin the names of results with the same bits on every processor."""
Results = dict[tuple[str, int], np.ndarray]
"""Results by name of the case and level."""


def compile_check(folder: Path, compiler: list[str]) -> Path:
    """Compile a static program with the flags of the wheels and return its path."""
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


def run_check(command: list[str | Path], timeout: float = 300) -> Results:
    """Run the program and return its results. Raises CalledProcessError if a check in it fails."""
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=timeout)
    results: Results = {}
    for line in found.stdout.splitlines():
        name, level, *numbers = line.split()
        bits = np.array([int(number, 16) for number in numbers], np.uint32)
        results[name, int(level)] = bits.view(np.float32)
    return results


def take_highest(results: Results) -> dict[str, np.ndarray]:
    """Return the results of the highest level by name."""
    return {name: values for (name, level), values in sorted(results.items(), key=_read_level)}


def compare_levels(results: Results) -> None:
    """Assert that exact results have the same bits at all levels of a processor."""
    for (name, _), values in results.items():
        if name.startswith(EXACT):
            assert values.tobytes() == results[name, 1].tobytes(), name


def compare_results(found: Results, wanted: dict[str, np.ndarray], levels: Iterable[int]) -> None:
    """Assert that another processor's results at `levels` are those wanted.

    Integer sums are exact; floats are added in another order.
    """
    assert set(found) == {(name, level) for name in wanted for level in levels}
    compare_levels(found)
    for (name, level), values in found.items():
        if name.startswith(EXACT):
            assert values.tobytes() == wanted[name].tobytes(), (name, level)
            continue
        # A value that is rounded to int8 or bfloat16 may round to its neighbour.
        most = 1e-3 if name.startswith(("step-int8", "step-int4", "step-float16")) else 1e-6
        error = np.linalg.norm(values - wanted[name]) / np.linalg.norm(wanted[name])
        assert error < most, (name, level, error)


def _read_level(item: tuple[tuple[str, int], np.ndarray]) -> int:
    return item[0][1]
