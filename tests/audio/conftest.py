"""Fixtures for the tests of audio."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.audio_files import SECRET_FOLDER


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    folder = tmp_path / SECRET_FOLDER
    folder.mkdir()
    return folder / "upload.bin"
