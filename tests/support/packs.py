"""Packed files of checkpoints."""

from __future__ import annotations

from pathlib import Path

from musicgen.checkpoints.locate import locate
from musicgen.checkpoints.pack import PackReport, pack


def pack_folder(folder: Path, form: str, output: Path) -> PackReport:
    return pack(locate(str(folder)), form, output)
