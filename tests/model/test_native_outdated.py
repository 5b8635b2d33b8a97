"""A native library compiled from another version is refused with advice."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from musicgen.errors import OutdatedLibrary
from musicgen.model.native.library import Library
from musicgen.model.native.step_file import read_level


def test_library_without_a_function_is_refused_with_advice(tmp_path: Path) -> None:
    """Name the file, the missing function and the command."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    source, path = tmp_path / "old.cpp", tmp_path / "old.so"
    source.write_text('extern "C" int native_level() { return 1; }')
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", path], check=True)
    assert read_level(path) == 1
    with pytest.raises(OutdatedLibrary, match=r"lacks native_limit.*pip install") as refused:
        Library(path)
    assert str(path) in str(refused.value)


def test_library_without_any_function_has_no_level(tmp_path: Path) -> None:
    """Refuse it where the level is read, before any other use."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    source, path = tmp_path / "empty.cpp", tmp_path / "empty.so"
    source.write_text("int nothing;")
    subprocess.run(["g++", "-shared", "-fPIC", source, "-o", path], check=True)
    with pytest.raises(OutdatedLibrary, match="native_level"):
        read_level(path)
