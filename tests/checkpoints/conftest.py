"""Packed files of toy checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.packs import pack_folder


@pytest.fixture(scope="session")
def packed(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str], Path]:
    """`packed(name, form)`: a toy checkpoint's packed file, made once; not to be changed."""
    root = tmp_path_factory.mktemp("packed")

    def file(name: str, form: str) -> Path:
        found = root / f"{name}.{form}.packed"
        return found if found.exists() else pack_folder(checkpoints(name), form, root).path

    return file
