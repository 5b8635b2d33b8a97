"""Choice of a packed file by device and precision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicgen.checkpoints.packed.format import NATIVE, PLAIN, find_packed_files, read_header
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.errors import CheckpointMismatch
from musicgen.model.config import MusicGenConfig
from musicgen.model.json_file import parse_json
from musicgen.model.native.library import describe_library, load_library


def forms_for(device: str, precision: str) -> Sequence[str]:
    """Return the forms of a packed file for a device and a precision, the best first."""
    rounded = [] if precision == "float32" else [f"{PLAIN}bfloat16"]
    if device != "cpu":
        return [*rounded, f"{PLAIN}float32"]
    precisions = ("int8", "bfloat16", "float32") if precision == "auto" else (precision,)
    native = [NATIVE + name for name in precisions] if load_library() is not None else []
    return [*native, f"{PLAIN}float32", *rounded]


def open_packed(path: Path, device: str, precision: str, revision: str | None) -> PackFile | None:
    """Open the packed file at `path`, or the best one in the folder `path`.

    Returns None for a folder with no suitable packed file but a checkpoint.
    Raises: `CheckpointMismatch` if only unsuitable files are there, a `CheckpointError`.
    """
    files = [path] if path.is_file() else find_packed_files(path)
    if not files:
        return None
    packs = {read_header(file)[1].form: file for file in files}
    forms = forms_for(device, precision)
    best = next((packs[form] for form in forms if form in packs), None)
    if best is not None:
        return _check_revision(PackFile(best), revision)
    if path.is_dir() and (path / "config.json").is_file():
        return None
    missing = ""
    if device == "cpu" and load_library() is None and any(f.startswith(NATIVE) for f in packs):
        missing = f" without the native step, {describe_library()}"
    raise CheckpointMismatch(
        f"{path} is packed as {', '.join(packs)}, unsuitable for {device} in precision "
        f"{precision}{missing}: choose another precision, or `musicgen pack --form {forms[0]}`"
    )


def config_of(pack: PackFile) -> MusicGenConfig:
    """Return the model configuration in a packed file.

    Raises: `CheckpointCorrupt`, `UnsupportedCheckpoint`.
    """

    def parse(name: str) -> dict[str, Any]:
        return parse_json(pack.read(name) or b"{}", pack.path / name)

    return MusicGenConfig.from_json(
        parse("config.json"), parse("generation_config.json"), pack.path
    )


def _check_revision(pack: PackFile, revision: str | None) -> PackFile:
    own = pack.manifest.revision
    if revision is not None and own != revision:
        raise CheckpointMismatch(
            f"{pack.path} was packed from revision {own} of {pack.manifest.source}, not from "
            f"{revision}: pack that revision, or change MUSICGEN_REVISION"
        )
    return pack
