"""The AVX-VNNI kernels on a processor with AVX-512 VNNI alone, which has the same instructions.

They differ in their encoding. Many processors with AVX-512 lack AVX-VNNI, and QEMU does not
emulate it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from musicgen.model.native.step_file import AVX2, AVX_VNNI, VNNI, find_step_file, read_level
from tests.support import ROOT
from tests.support.native_check import FLAGS, SOURCES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler here"),
]
CHANGES = {
    "int8.h": ("%{vex%} vpdpbusd", "vpdpbusd", 1),
    "processor.h": ("inline bool has_avx_vnni() {", "inline bool has_avx_vnni() { return true;", 1),
}
"""By header: a text, its replacement, and how often it is there."""


def _read_results(program: Path) -> dict[tuple[str, int], bytes]:
    done = subprocess.run([program], check=True, capture_output=True, text=True, timeout=300)
    lines = [line.split() for line in done.stdout.splitlines()]
    return {
        (name, int(level)): np.array([int(n, 16) for n in numbers], np.uint32).tobytes()
        for name, level, *numbers in lines
    }


def _compile(folder: Path, *, is_broken: bool) -> Path:
    """Compile the checks with the kernels encoded for AVX-512; broken, they skip half a block."""
    shutil.copytree(SOURCES, folder, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name, (before, after, count) in CHANGES.items():
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(before) == count, name
        (folder / name).write_text(text.replace(before, after), encoding="utf-8")
    if is_broken:
        header = folder / "int8.h"
        text = header.read_text(encoding="utf-8")
        at = text.index("void int8_blocks_avx_vnni")
        kernel = text[at:].replace(
            "half < 2; ++half)\n                    total",
            "half < 1; ++half)\n                    total",
            1,
        )
        assert kernel != text[at:]
        header.write_text(text[:at] + kernel, encoding="utf-8")
    program = folder / "check"
    others = [path for path in folder.glob("*.cpp") if path.name != "step.cpp"]
    checks = sorted((ROOT / "tests" / "model").glob("native_*.cpp"))
    command = ["g++", *FLAGS, "-w", f"-I{folder}", *checks, *others, "-o", program]
    subprocess.run(command, check=True)
    return program


@pytest.mark.parametrize("is_broken", [False, True], ids=["as written", "with a mistake"])
def test_avx_vnni_computes_the_bits_of_other_levels(tmp_path: Path, is_broken: bool) -> None:
    step = find_step_file()
    if step is None or read_level(step) < VNNI:
        pytest.skip("needs a processor with AVX-512 VNNI")
    found = _read_results(_compile(tmp_path / "native", is_broken=is_broken))
    names = {name for name, _ in found if name.startswith("product-int8")}
    assert len(names) > 3
    differing = [
        name
        for name in names
        if any(found[name, level] != found[name, AVX_VNNI] for level in (AVX2, VNNI))
    ]
    assert bool(differing) == is_broken
