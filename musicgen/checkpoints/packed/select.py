"""Opening of the packed file chosen by `musicgen.checkpoints.packed.choice`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicgen.checkpoints.packed.choice import choose_packed
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.model.config import MusicGenConfig
from musicgen.model.json_file import parse_json


def open_packed(path: Path, device: str, precision: str, revision: str | None) -> PackFile | None:
    """Open the packed file at `path`, or the best one in the folder `path`.

    Returns None for a folder with no suitable packed file but a checkpoint.
    Raises: `CheckpointMismatch` if only unsuitable files are there, a `CheckpointError`.
    """
    chosen = choose_packed(path, device, precision, revision)
    return None if chosen is None else PackFile(chosen)


def config_of(pack: PackFile) -> MusicGenConfig:
    """Return the model configuration in a packed file.

    Raises: `CheckpointCorrupt`, `UnsupportedCheckpoint`.
    """

    def parse(name: str) -> dict[str, Any]:
        return parse_json(pack.read(name) or b"{}", pack.path / name)

    return MusicGenConfig.from_json(
        parse("config.json"), parse("generation_config.json"), pack.path
    )
