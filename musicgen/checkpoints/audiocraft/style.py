"""Settings of audiocraft's style conditioner as a checkpoint's configuration, and MERT's files.

Defaults of absent settings are those of audiocraft's classes. Settings of training alone are left
out. Source: audiocraft 1.4.0a2, `modules/conditioners.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from musicgen.catalog import MERT
from musicgen.checkpoints.audiocraft.settings import RunSettings
from musicgen.checkpoints.audiocraft.style_names import rename_mert
from musicgen.checkpoints.locate import Source
from musicgen.checkpoints.tensor_files import TensorFiles
from musicgen.errors import CheckpointMismatch, UnsupportedCheckpoint
from musicgen.errors.counts import format_count
from musicgen.model.json_file import read_json
from musicgen.model.style.config import FeatureConfig

SECTION = "conditioners.self_wav.style"
# Width, heads and layers of the transformer.
_SCALES = {"xsmall": (256, 8, 4), "default": (512, 8, 8), "large": (1024, 16, 24)}
_MERT_WIDTH = 768
_TRAINING = (
    *("encodec_checkpoint", "encodec_n_q", "q_dropout", "compute_mask", "num_codebooks_lm"),
    *("ds_rate_compression", "use_middle_of_segment", "rvq_threshold_ema_dead_code"),
)
_READ = (
    *("model_name", "transformer_scale", "sample_rate", "length", "ds_factor", "n_q_out"),
    *("eval_q", "bins", "varying_lengths", "batch_norm"),
)


def read_style(settings: RunSettings) -> dict[str, Any]:
    """Return the section `style_encoder` of a configuration, without the features.

    Raises: `UnsupportedCheckpoint` with the name of a setting that cannot be converted.
    """
    settings.require_known("conditioners.self_wav", ("model", "style"))
    settings.require_known(SECTION, (*_READ, *_TRAINING))
    # EnCodec's tokens were an experiment of the paper; no such model is published.
    settings.require(f"{SECTION}.model_name", "mert")
    settings.require(f"{SECTION}.sample_rate", settings.get("sample_rate"))
    scale = settings.require(f"{SECTION}.transformer_scale", *_SCALES, default="default")
    size, heads, layers = _SCALES[scale]
    codebooks = settings.get_number(f"{SECTION}.n_q_out", 6)
    used = settings.get_number(f"{SECTION}.eval_q", 3)
    if not 1 <= used <= codebooks:
        settings.refuse(f"{SECTION}.eval_q", used, f"It must be from 1 to {codebooks}.")
    lengths = settings.get(f"{SECTION}.varying_lengths", [1.5, 4.5])
    seconds = settings.get(f"{SECTION}.length")
    _check_lengths(settings, seconds, lengths)
    return {
        "hidden_size": size,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_codebooks": codebooks,
        "codebook_size": settings.get_number(f"{SECTION}.bins", 1024),
        "default_codebooks": used,
        "stride": settings.get_number(f"{SECTION}.ds_factor", 15),
        "seconds": float(seconds),
        "shortest_seconds": float(lengths[0]),
        "longest_seconds": float(lengths[1]),
        "batch_norm": settings.require(f"{SECTION}.batch_norm", False, True, default=True),
    }


def read_mert_config(mert: Source) -> dict[str, Any]:
    """Return MERT's configuration. Raises: `UnsupportedCheckpoint` for another network."""
    raw = dict(read_json(mert.folder / "config.json"))
    try:
        config = FeatureConfig.from_json(raw)
    except (TypeError, ValueError) as error:
        raise UnsupportedCheckpoint(f"{mert.label} is not {MERT}: {error}") from error
    if config.hidden_size != _MERT_WIDTH:
        raise CheckpointMismatch(
            f"{mert.label} has features of {format_count(config.hidden_size, 'number')}, not "
            f"{_MERT_WIDTH}: name {MERT} with --features"
        )
    return raw


def read_mert_tensors(mert: Source) -> Mapping[str, Tensor]:
    """Return MERT's tensors by the names of a checkpoint. Raises: a `CheckpointError`."""
    files = TensorFiles(mert.folder)
    return rename_mert({name: files[name] for name in files.names}, mert.folder)


def _check_lengths(settings: RunSettings, seconds: Any, lengths: Any) -> None:
    def is_number(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool)

    is_pair = isinstance(lengths, list) and len(lengths) == 2 and all(map(is_number, lengths))
    if not is_pair or not 0 < lengths[0] <= lengths[1] <= 30:
        settings.refuse(f"{SECTION}.varying_lengths", lengths, "It must be two lengths up to 30 s.")
    if not is_number(seconds) or not lengths[0] <= seconds <= lengths[1]:
        settings.refuse(
            f"{SECTION}.length", seconds, f"It must be from {lengths[0]:g} to {lengths[1]:g}."
        )
