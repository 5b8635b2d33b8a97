"""The native library's check, compiled once for the tests that compare processors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.native_check import compile_check


@pytest.fixture(scope="session")
def native_check(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the check as a program of this processor."""
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler here")
    return compile_check(tmp_path_factory.mktemp("native_check"), ["g++"])
