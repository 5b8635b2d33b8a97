"""Which packed file a device and a precision go with, and an engine made of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicgen.checkpoints.packed.format import NATIVE, PLAIN, packed_files, read_header
from musicgen.checkpoints.packed.reader import PackFile
from musicgen.errors import CheckpointMismatch
from musicgen.model.config import MusicGenConfig, parse_json
from musicgen.model.native.library import library


def forms_for(device: str, precision: str) -> Sequence[str]:
    """The forms of a packed file that run there in that precision, the best first."""
    rounded = [] if precision == "float32" else [f"{PLAIN}bfloat16"]
    if device != "cpu":
        return [*rounded, f"{PLAIN}float32"]
    packed = ("int8", "bfloat16", "float32") if precision == "auto" else (precision,)
    native = [NATIVE + each for each in packed] if library() is not None else []
    return [*native, f"{PLAIN}float32", *rounded]


def open_packed(path: Path, device: str, precision: str, revision: str | None) -> PackFile | None:
    """The packed file at `path`, or the one in that folder that suits; None for a folder whose
    checkpoint is to be read instead.

    Raises: `CheckpointMismatch` when there are only others, a `CheckpointError`.
    """
    files = [path] if path.is_file() else packed_files(path)
    if not files:
        return None
    packs = {read_header(file)[1].form: file for file in files}
    wanted = forms_for(device, precision)
    found = next((packs[form] for form in wanted if form in packs), None)
    if found is not None:
        return _of_revision(PackFile(found), revision)
    if path.is_dir() and (path / "config.json").is_file():
        return None
    raise CheckpointMismatch(
        f"{path} is packed as {', '.join(packs)}, which {device} does not run in precision "
        f"{precision}: choose another, or `musicgen pack --form {wanted[0]}`"
    )


def config_of(pack: PackFile) -> MusicGenConfig:
    """Raises: `CheckpointCorrupt`, `UnsupportedCheckpoint`."""

    def parsed(name: str) -> dict[str, Any]:
        return parse_json(pack.read(name) or b"{}", pack.path / name)

    return MusicGenConfig.from_json(
        parsed("config.json"), parsed("generation_config.json"), pack.path
    )


def _of_revision(pack: PackFile, revision: str | None) -> PackFile:
    found = pack.manifest.revision
    if revision is not None and found != revision:
        raise CheckpointMismatch(
            f"{pack.path} was packed from revision {found} of {pack.manifest.source}, not from "
            f"{revision}: pack that one, or change MUSICGEN_REVISION"
        )
    return pack
