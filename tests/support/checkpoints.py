"""Toy checkpoints of every MusicGen family, other ways to store them, and ways to break them.

`build` writes a folder as transformers would, with random weights. The variants write a sibling
folder with the same values in another form; they read folders made by `build`. The damage
functions change a folder in place: give them a copy, for the `checkpoints` fixture shares its
folders between tests.

Importing this module imports no transformers.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.random_checkpoints import FamilySpec, build

__all__ = [
    "ALL_SPECS",
    "FAMILIES",
    "ODD_SHAPES",
    "FamilySpec",
    "as_float16",
    "as_pytorch_bin",
    "as_sharded_bin",
    "as_sharded_safetensors",
    "build",
    "reshape_tensor",
    "truncate",
    "with_legacy_weight_norm",
    "with_spiece_only",
    "with_stored_positions",
    "without_file",
    "without_tensor",
]

_STEREO = {"audio_channels": 2}
_SMALL = FamilySpec(hidden_size=48, heads=3, ffn_size=96)
_MELODY = FamilySpec(model_type="musicgen_melody", hidden_size=48, heads=3, chroma_frames=11)

FAMILIES: dict[str, FamilySpec] = {
    "musicgen-small": _SMALL,
    "musicgen-medium": FamilySpec(layers=3, text_hidden_size=48, text_heads=6),
    # Equal widths: no enc_to_dec_proj.
    "musicgen-large": FamilySpec(hidden_size=80, heads=5, layers=3, text_hidden_size=80),
    "musicgen-melody": _MELODY,
    "musicgen-melody-large": replace(
        _MELODY, hidden_size=64, heads=4, layers=3, vocab_size=128, chroma_frames=235
    ),
    "musicgen-stereo-small": replace(_SMALL, **_STEREO, text_activation="gated-gelu"),
    "musicgen-stereo-medium": FamilySpec(
        **_STEREO, hidden_size=96, heads=6, layers=3, text_heads=3, text_head_dim=16
    ),
    "musicgen-stereo-large": FamilySpec(
        **_STEREO, hidden_size=56, heads=7, layers=3, vocab_size=128, text_bias_buckets=8
    ),
    "musicgen-stereo-melody": replace(_MELODY, **_STEREO, hidden_size=72, heads=6, chroma_frames=7),
    "musicgen-stereo-melody-large": replace(
        _MELODY, **_STEREO, hidden_size=64, heads=2, layers=3, chroma_frames=13
    ),
}

ODD_SHAPES: dict[str, FamilySpec] = {
    "three-codebooks": FamilySpec(codebooks=3),
    "five-heads": FamilySpec(hidden_size=40, heads=5, ffn_size=72, text_ffn_size=40),
    "hidden-36": FamilySpec(hidden_size=36, heads=3, text_hidden_size=20, text_heads=5),
    # The head size of all published checkpoints.
    "head-size-64": FamilySpec(hidden_size=128, heads=2),
    "vocab-32": FamilySpec(vocab_size=32),
    "long-positions": FamilySpec(max_positions=4096),
    "short-positions": FamilySpec(max_positions=8),
    "one-lstm-layer": FamilySpec(codec_lstm_layers=1, codec_filters=3, codec_hidden_size=10),
    "causal-shortcut": FamilySpec(codec_causal=True, codec_conv_shortcut=True),
    "short-bias-distance": FamilySpec(text_bias_buckets=8, text_bias_max_distance=6),
    "melody-equal-widths": replace(_MELODY, text_hidden_size=48, text_activation="gated-gelu"),
    "one-layer": FamilySpec(layers=1, text_layers=1),
}

ALL_SPECS = FAMILIES | ODD_SHAPES

_SHARDS = 3
_WEIGHTS = "model.safetensors"
_BIN_WEIGHTS = "pytorch_model.bin"
_LEGACY_NAMES = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}


def as_sharded_safetensors(source: Path, target: Path) -> None:
    """Three shards and an index. Neighbouring tensors lie in different shards."""
    _copy_side_files(source, target)
    shards = _shards(_weights(source), "model-{:05d}-of-{:05d}.safetensors")
    for name, tensors in shards.items():
        save_file(tensors, target / name, metadata={"format": "pt"})
    _write_index(target / "model.safetensors.index.json", shards)


def as_pytorch_bin(source: Path, target: Path) -> None:
    """One pickle, which also holds the tied copy of the text embeddings."""
    _copy_side_files(source, target)
    torch.save(_with_tied_copy(_weights(source)), target / _BIN_WEIGHTS)


def as_sharded_bin(source: Path, target: Path) -> None:
    _copy_side_files(source, target)
    tensors = _with_tied_copy(_weights(source))
    shards = _shards(tensors, "pytorch_model-{:05d}-of-{:05d}.bin")
    for name, part in shards.items():
        torch.save(part, target / name)
    _write_index(target / f"{_BIN_WEIGHTS}.index.json", shards)


def with_legacy_weight_norm(source: Path, target: Path) -> None:
    """The names that the published checkpoints use: `weight_g` and `weight_v`."""
    renamed = {_legacy_name(name): tensor for name, tensor in _weights(source).items()}
    _write_variant(source, target, renamed)


def with_stored_positions(source: Path, target: Path) -> None:
    """With the table of sinusoidal positions, which older versions of transformers saved too."""
    config = json.loads((source / "config.json").read_text())["decoder"]
    table = torch.zeros(config["max_position_embeddings"], config["hidden_size"])
    name = "decoder.model.decoder.embed_positions.weights"
    _write_variant(source, target, _weights(source) | {name: table})


def as_float16(source: Path, target: Path) -> None:
    """Every tensor cast to float16, and `dtype` in `config.json`."""
    halves = {name: tensor.half() for name, tensor in _weights(source).items()}
    _write_variant(source, target, halves)
    config_file = target / "config.json"
    config = json.loads(config_file.read_text())
    config_file.write_text(json.dumps(config | {"dtype": "float16"}, indent=2))


def with_spiece_only(source: Path, target: Path) -> None:
    """Without `tokenizer.json` and its configuration: sentencepiece alone."""
    shutil.copytree(source, target)
    without_file(target, "tokenizer.json")
    without_file(target, "tokenizer_config.json")


def truncate(file: Path, *, keep: float = 0.5) -> None:
    """Cuts `file` to a share of its bytes, as an interrupted download does."""
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])


def without_tensor(folder: Path, name: str) -> None:
    """Drops one tensor of `model.safetensors`. Raises: `KeyError` if it is not there."""
    tensors = _weights(folder)
    del tensors[name]
    _save_weights(folder, tensors)


def reshape_tensor(folder: Path, name: str) -> None:
    """Gives one tensor of `model.safetensors` a row too many."""
    tensors = _weights(folder)
    tensors[name] = torch.cat([tensors[name], tensors[name][:1]])
    _save_weights(folder, tensors)


def without_file(folder: Path, name: str) -> None:
    """Raises: `FileNotFoundError` if it is not there."""
    (folder / name).unlink()


def _weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / _WEIGHTS)


def _save_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def _write_variant(source: Path, target: Path, tensors: dict[str, Tensor]) -> None:
    _copy_side_files(source, target)
    _save_weights(target, tensors)


def _copy_side_files(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(_WEIGHTS))


def _legacy_name(name: str) -> str:
    for new, legacy in _LEGACY_NAMES.items():
        name = name.replace(new, legacy)
    return name


def _with_tied_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    tied = {"text_encoder.encoder.embed_tokens.weight": tensors["text_encoder.shared.weight"]}
    return tensors | tied


def _shards(tensors: dict[str, Tensor], pattern: str) -> dict[str, dict[str, Tensor]]:
    names = sorted(tensors)
    return {
        pattern.format(i + 1, _SHARDS): {name: tensors[name] for name in names[i::_SHARDS]}
        for i in range(_SHARDS)
    }


def _write_index(file: Path, shards: dict[str, dict[str, Tensor]]) -> None:
    weight_map = {name: shard for shard, tensors in shards.items() for name in tensors}
    size = sum(tensor.nbytes for tensors in shards.values() for tensor in tensors.values())
    content = {"metadata": {"total_size": size}, "weight_map": weight_map}
    file.write_text(json.dumps(content, indent=2, sort_keys=True))
