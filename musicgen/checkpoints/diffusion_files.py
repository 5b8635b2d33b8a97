"""Where the weights of multi-band diffusion are."""

from __future__ import annotations

from pathlib import Path

from musicgen.catalog import DIFFUSION, DIFFUSION_FILE
from musicgen.checkpoints.address import is_hub_name
from musicgen.checkpoints.hub import download_snapshot
from musicgen.checkpoints.hub_cache import find_with_commit
from musicgen.errors import CheckpointNotFound, SettingsError


def locate_diffusion(name: str) -> Path:
    """Return the file of a hub name, a folder or a file; the hub's is downloaded if necessary.

    Raises: `CheckpointNotFound`, `SettingsError`, `DiskFull`.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        return _require(path)
    if is_hub_name(name):
        return _require(find_with_commit(name, None, _download))
    raise SettingsError(
        "MUSICGEN_DIFFUSION",
        f"must be off, a hub name such as {DIFFUSION}, or a folder or file that exists",
        value=name,
    )


def _download(repository: str, revision: str | None) -> Path:
    return download_snapshot(repository, revision, [DIFFUSION_FILE])


def _require(folder: Path) -> Path:
    file = folder / DIFFUSION_FILE
    if not file.is_file():
        raise CheckpointNotFound(f"{folder} has no {DIFFUSION_FILE}. Download it from {DIFFUSION}.")
    return file
