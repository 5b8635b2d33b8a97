"""Conversion of a fine-tune from audiocraft's files to a Hugging Face checkpoint.

audiocraft stores the language model in `state_dict.bin` with the settings of its run. The text
encoder, and usually the codec, are only named there: their weights come from a checkpoint of the
base model.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from musicgen.catalog import UNKNOWN_LICENCE
from musicgen.checkpoints.audiocraft.configuration import (
    CONFIG,
    LocateFeatures,
    Parts,
    build_configuration,
    require_features,
)
from musicgen.checkpoints.audiocraft.files import (
    COMPRESSION_MODEL,
    LANGUAGE_MODEL,
    Package,
    read_package,
)
from musicgen.checkpoints.audiocraft.names import (
    is_known_extra,
    rename_codec,
    rename_language_model,
)
from musicgen.checkpoints.audiocraft.style import read_mert_tensors
from musicgen.checkpoints.audiocraft.style_names import CONDITIONER, rename_style
from musicgen.checkpoints.audiocraft.text_base import choose_tensors, combine_with_encoder
from musicgen.checkpoints.card import CARD, combine_licences, read_licence, render_licence
from musicgen.checkpoints.folder_files import SAFETENSORS
from musicgen.checkpoints.locate import Source
from musicgen.checkpoints.locking import translate_disk_errors
from musicgen.checkpoints.packed.format import SMALL_FILES
from musicgen.checkpoints.tensor_files import TensorFiles
from musicgen.checkpoints.weights import CheckpointWeights
from musicgen.errors import CheckpointIncomplete, CheckpointMismatch, UnsupportedCheckpoint
from musicgen.errors.counts import format_count
from musicgen.model.config import MusicGenConfig

_TEXT_ENCODER, _CODEC = "text_encoder.", "audio_encoder."
_ADVICE = "free some space or choose another folder"


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    `own_codec`, `own_text_encoder`: they are the fine-tune's own, not the base's.
    """

    folder: Path
    tensors: int
    own_codec: bool
    own_text_encoder: bool
    licence: str


def convert(
    files: Path,
    base: Source,
    output: Path,
    *,
    settings_of_base: bool = False,
    licence: str = UNKNOWN_LICENCE,
    locate_features: LocateFeatures = require_features,
) -> Conversion:
    """Convert audiocraft's `files`, a folder, to a checkpoint in the new folder `output`.

    `base`: a checkpoint of the same family, for all that the files only name, or a T5 for files
    with their own codec. `settings_of_base`: files without settings have those of the base.
    `licence`: that of `files`, by default the one of a model card among them. The checkpoint has
    it and the base model's. `locate_features`: finds MERT, for a style model.
    Raises: a `CheckpointError`, `DiskFull`, `NotWritable`.
    """
    if output.exists():
        raise CheckpointMismatch(f"{output} exists already: choose a new folder")
    _check_base(base)
    language_model = read_package(files / LANGUAGE_MODEL)
    weights = language_model.weights
    compression = files / COMPRESSION_MODEL
    codec = read_package(compression) if compression.is_file() else None
    parts = build_configuration(
        base,
        language_model,
        codec,
        settings_of_base=settings_of_base,
        locate_features=locate_features,
    )
    tuned = _rename(weights, files / LANGUAGE_MODEL, codec, parts)
    kept = _read_kept(base, parts)
    with translate_disk_errors(output.parent, _ADVICE):
        output.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            own = read_licence(files) if licence == UNKNOWN_LICENCE else licence
            combine = combine_with_encoder if parts.is_base_text_encoder else combine_licences
            licence = combine(own, base.licence)
            if parts.features is not None and parts.features.licence not in licence:
                licence = combine_licences(licence, parts.features.licence)
            _write(partial, kept | tuned, parts, base, licence)
            _check(partial, tuned, base)
            partial.chmod(0o755)
            partial.rename(output)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return Conversion(output, len(kept | tuned), parts.own_codec, parts.own_text_encoder, licence)


def _check_base(base: Source) -> None:
    """Refuse a base whose own weights are not in a folder. Raises: `UnsupportedCheckpoint`."""
    if base.adapter is not None:
        raise UnsupportedCheckpoint(
            f"{base.label} is an adapter, and its changes would be lost: name its base model with "
            "--base"
        )
    if base.folder.is_file():
        raise UnsupportedCheckpoint(
            f"{base.label} is a packed file: name the folder or the hub name that it was packed "
            "from with --base"
        )


def _rename(
    weights: Mapping[str, Tensor], path: Path, codec: Package | None, parts: Parts
) -> dict[str, Tensor]:
    """Return the fine-tune's tensors by their new names."""
    style: dict[str, Tensor] = {}
    if parts.features is not None:
        style = {**rename_style(weights, path), **read_mert_tensors(parts.features)}
        weights = {n: t for n, t in weights.items() if not n.startswith(CONDITIONER)}
    tuned = rename_language_model(weights, path, with_text_encoder=parts.own_text_encoder) | style
    if parts.own_text_encoder and not any(name.startswith(_TEXT_ENCODER) for name in tuned):
        raise CheckpointIncomplete(
            f"{path} has no tensors of the text encoder, although "
            "conditioners.description.t5.finetune is true."
        )
    if codec is not None and parts.own_codec:
        tuned |= rename_codec(codec.weights, parts.codec_codebooks)
    return tuned


def _read_kept(base: Source, parts: Parts) -> dict[str, Tensor]:
    """Return the base's tensors that the fine-tune only names."""
    files = TensorFiles(base.folder)
    if parts.is_base_text_encoder:
        names = [] if parts.own_text_encoder else choose_tensors(files.names)
        return {f"{_TEXT_ENCODER}{name}": files[name] for name in names}
    prefixes = {_TEXT_ENCODER: parts.own_text_encoder, _CODEC: parts.own_codec}
    kept = tuple(prefix for prefix, is_own in prefixes.items() if not is_own)
    return {name: files[name] for name in files.names if name.startswith(kept)}


def _write(
    folder: Path, tensors: Mapping[str, Tensor], parts: Parts, base: Source, licence: str
) -> None:
    for name in SMALL_FILES:
        if (base.folder / name).is_file():
            shutil.copy(base.folder / name, folder / name)
    for name, content in parts.files.items():
        (folder / name).write_text(_render_json(content), encoding="utf-8")
    _save({n: t.contiguous() for n, t in tensors.items()}, folder / SAFETENSORS)
    kind = "A model of audiocraft with" if parts.is_base_text_encoder else "A fine-tune of"
    card = f"---\n{render_licence(licence)}---\n\n{kind} {base.label}.\n"
    (folder / CARD).write_text(card, encoding="utf-8")


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    """Write a file of tensors, readable by all as the other ones. Raises: OSError."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # The library has the number of the system's error only in its text.
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number)) from error
    path.chmod(0o644)


def _render_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"


def _check(folder: Path, tuned: Mapping[str, Tensor], base: Source) -> None:
    """Check that the checkpoint is complete, fits its configuration and uses every tensor."""
    config = MusicGenConfig.from_folder(folder)
    try:
        weights = CheckpointWeights(folder, config)
        weights.check_shapes()
    except (CheckpointIncomplete, CheckpointMismatch) as error:
        raise CheckpointMismatch(
            f"the fine-tune does not fit {base.label}: name its base model with --base ({error})"
        ) from error
    unused = [name for name in weights.find_unused() if name in tuned and not is_known_extra(name)]
    if unused:
        raise UnsupportedCheckpoint(
            f"The fine-tune has {format_count(len(unused), 'tensor')} without a place in "
            f"{CONFIG}: {', '.join(sorted(unused)[:5])}."
        )
