"""Conversion of a fine-tune from audiocraft's files to a Hugging Face checkpoint.

audiocraft stores the language model in `state_dict.bin`. The text encoder, and usually the codec,
are only named there: their weights come from a checkpoint of the base model.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from musicgen.checkpoints.audiocraft_names import rename_codec, rename_language_model
from musicgen.checkpoints.card import CARD, combine_licences, read_licence, render_licence
from musicgen.checkpoints.folder_files import SAFETENSORS
from musicgen.checkpoints.locate import Source
from musicgen.checkpoints.locking import translate_disk_errors
from musicgen.checkpoints.packed.format import SMALL_FILES
from musicgen.checkpoints.tensor_files import TensorFiles
from musicgen.checkpoints.weights import CheckpointWeights
from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete, CheckpointMismatch
from musicgen.model.config import MusicGenConfig

LANGUAGE_MODEL, COMPRESSION_MODEL = "state_dict.bin", "compression_state_dict.bin"
_KEPT = ("text_encoder.", "audio_encoder.")
_ADVICE = "free some space or choose another folder"


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion. `own_codec`: the codec is the fine-tune's own, not the base's."""

    folder: Path
    tensors: int
    own_codec: bool
    licence: str


def convert(files: Path, base: Source, output: Path) -> Conversion:
    """Convert audiocraft's `files`, a folder, to a checkpoint in the new folder `output`.

    `base`: the checkpoint of the base model, of the same size and family. The licence is the base
    model's, and that of a model card among `files`.
    Raises: a `CheckpointError`, `DiskFull`, `NotWritable`.
    """
    if output.exists():
        raise CheckpointMismatch(f"{output} exists already: choose a new folder")
    tuned = rename_language_model(_state(files / LANGUAGE_MODEL), files / LANGUAGE_MODEL)
    compression = files / COMPRESSION_MODEL
    own = _codec_state(compression) if compression.is_file() else None
    kept = TensorFiles(base.folder)
    tensors = {name: kept[name] for name in kept.names if name.startswith(_KEPT)} | tuned
    if own is not None:
        others = {n: t for n, t in tensors.items() if not n.startswith("audio_encoder.")}
        tensors = others | rename_codec(own)
    with translate_disk_errors(output.parent, _ADVICE):
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            licence = combine_licences(read_licence(files), base.licence)
            _write(partial, tensors, base, licence)
            _check(partial, base)
            partial.chmod(0o755)
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Conversion(output, len(tensors), own is not None, licence)


def _write(folder: Path, tensors: Mapping[str, Tensor], base: Source, licence: str) -> None:
    for name in SMALL_FILES:
        if (base.folder / name).is_file():
            shutil.copy(base.folder / name, folder / name)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / SAFETENSORS)
    card = f"---\n{render_licence(licence)}---\n\nA fine-tune of {base.label}.\n"
    (folder / CARD).write_text(card, encoding="utf-8")


def _check(folder: Path, base: Source) -> None:
    """Check that the new checkpoint is complete and fits its configuration."""
    config = MusicGenConfig.from_folder(folder)
    try:
        weights = CheckpointWeights(folder, config)
        weights.check_shapes()
    except (CheckpointIncomplete, CheckpointMismatch) as error:
        raise CheckpointMismatch(
            f"the fine-tune does not fit {base.label}: name its base model with --base ({error})"
        ) from error


def _state(path: Path) -> dict[str, Tensor]:
    package = _read(path)
    state = package.get("best_state", package)
    # A file saved by the trainer, not exported, has one level more.
    state = state.get("model", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise CheckpointCorrupt(f"{path} holds no weights under best_state: export it first")
    return state


def _codec_state(path: Path) -> dict[str, Tensor] | None:
    """Return the codec's weights, or None if the file only names a pretrained codec."""
    return None if "pretrained" in _read(path) else _state(path)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise CheckpointIncomplete(f"{path.parent} has no {path.name}: is it audiocraft's folder?")
    try:
        # weights_only: a pickle could otherwise run any code.
        package = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointCorrupt(f"{path} cannot be read as PyTorch weights: {error}") from error
    if not isinstance(package, dict):
        raise CheckpointCorrupt(f"{path} holds no dictionary of weights")
    return package
