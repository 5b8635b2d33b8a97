"""The native library on an emulated processor with AVX-512, beside this processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bochs_processor import build_command, find_missing
from tests.support.native_check import compare_results, run_check, take_highest

LEVELS = range(1, 5)
"""AVX2, AVX-VNNI, AVX-512, AVX-512 VNNI."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(find_missing()), reason=find_missing()),
]


def test_avx512_computes_the_same(tmp_path: Path, native_check: Path) -> None:
    """A kernel with AVX-512 or VNNI can err where this processor never runs it."""
    here = run_check([native_check])
    if not here:
        pytest.skip("the native library does not run on this processor")
    levels = {level for _, level in here}
    if LEVELS[-1] in levels:
        pytest.skip("this processor has AVX-512 VNNI, so other tests run these kernels")
    # At AVX2, equal results show that the emulator computes as this processor does.
    found = run_check(build_command(tmp_path, native_check, "1"), timeout=1200)
    compare_results(found, take_highest(here), LEVELS)
