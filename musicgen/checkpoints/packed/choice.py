"""Choice of a packed file by device and precision, from its header alone. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from musicgen.checkpoints.packed.format import (
    NATIVE,
    PLAIN,
    Manifest,
    find_packed_files,
    read_header,
)
from musicgen.errors import CheckpointMismatch
from musicgen.model.native.step_file import describe_step, has_native_step

_AUTO = ("int8", "bfloat16", "float32", "int4")


def forms_for(device: str, precision: str) -> Sequence[str]:
    """Return the forms of a packed file for a device and a precision, the best first."""
    rounded = [] if precision == "float32" else [f"{PLAIN}bfloat16"]
    if device != "cpu":
        return [*rounded, f"{PLAIN}float32"]
    # "auto" takes int4 where nothing more exact for processors was packed.
    precisions = _AUTO if precision == "auto" else (precision,)
    native = [NATIVE + name for name in precisions] if has_native_step() else []
    return [*native, f"{PLAIN}float32", *rounded]


def choose_packed(path: Path, device: str, precision: str, revision: str | None) -> Path | None:
    """Return the packed file at `path`, or the best one in the folder `path`.

    Returns None for a folder with no suitable packed file but a checkpoint.
    Raises: `CheckpointMismatch` if only unsuitable files are there, a `CheckpointError`.
    """
    files = [path] if path.is_file() else find_packed_files(path)
    if not files:
        return None
    manifests = {file: read_header(file)[1] for file in files}
    packs = {manifest.form: file for file, manifest in manifests.items()}
    forms = forms_for(device, precision)
    best = next((packs[form] for form in forms if form in packs), None)
    if best is not None:
        _check_revision(best, manifests[best], revision)
        return best
    if path.is_dir() and (path / "config.json").is_file():
        return None
    raise CheckpointMismatch(
        f"{path} is packed as {', '.join(packs)}, unsuitable for {device} in precision "
        f"{precision}{_explain(packs, device)}: choose another precision, or "
        f"`musicgen pack --form {forms[0]}`"
    )


def _explain(packs: dict[str, Path], device: str) -> str:
    if device != "cpu" or has_native_step() or not any(form.startswith(NATIVE) for form in packs):
        return ""
    return f" without the native step, {describe_step()}"


def _check_revision(path: Path, manifest: Manifest, revision: str | None) -> None:
    own = manifest.revision
    if revision is not None and own != revision:
        raise CheckpointMismatch(
            f"{path} was packed from revision {own} of {manifest.source}, not from "
            f"{revision}: pack that revision, or change MUSICGEN_REVISION"
        )
