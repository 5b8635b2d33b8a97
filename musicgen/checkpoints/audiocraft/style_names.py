"""Tensors of audiocraft's style conditioner and of MERT by the names of `StyleEncoder`.

audiocraft saves the conditioner without MERT, which has a repository of its own. Source:
audiocraft 1.4.0a2, `modules/conditioners.py` and `quantization/core_vq.py`; MERT has the names of
transformers' `HubertModel`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from musicgen.errors import CheckpointIncomplete, UnsupportedCheckpoint

CONDITIONER = "condition_provider.conditioners.self_wav."
PREFIX = "style_encoder."
_CODEBOOK = re.compile(r"rvq\.vq\.layers\.(\d+)\._codebook\.embed")
_TRAINING = re.compile(
    r"batch_norm\.num_batches_tracked|rvq\.vq\.layers\.\d+\._codebook\.(inited|cluster_size|embed_avg)"
)
_STYLE_RULES = (
    (r"embed\.(weight|bias)", r"embedding.\1"),
    (r"output_proj\.(weight|bias)", r"projection.\1"),
    (r"batch_norm\.running_mean", r"mean"),
    (r"batch_norm\.running_var", r"variance"),
    (r"transformer\.layers\.(\d+)\.self_attn\.in_proj_weight", r"layers.\1.qkv.weight"),
    (r"transformer\.layers\.(\d+)\.self_attn\.out_proj\.weight", r"layers.\1.out.weight"),
    (r"transformer\.layers\.(\d+)\.norm1\.(weight|bias)", r"layers.\1.attention_norm.\2"),
    (r"transformer\.layers\.(\d+)\.norm2\.(weight|bias)", r"layers.\1.ffn_norm.\2"),
    (r"transformer\.layers\.(\d+)\.linear1\.weight", r"layers.\1.up.weight"),
    (r"transformer\.layers\.(\d+)\.linear2\.weight", r"layers.\1.down.weight"),
)
_LAYER = r"encoder\.layers\.(\d+)\."
_MERT_RULES = (
    (r"feature_extractor\.conv_layers\.(\d+)\.conv\.(weight|bias)", r"convolutions.\1.\2"),
    (r"feature_extractor\.conv_layers\.0\.layer_norm\.(weight|bias)", r"channel_norm.\1"),
    (r"feature_projection\.layer_norm\.(weight|bias)", r"projection_norm.\1"),
    (r"feature_projection\.projection\.(weight|bias)", r"projection.\1"),
    (r"encoder\.pos_conv_embed\.conv\.bias", r"positions.bias"),
    (r"encoder\.layer_norm\.(weight|bias)", r"norm.\1"),
    (_LAYER + r"attention\.out_proj\.(weight|bias)", r"layers.\1.out.\2"),
    (_LAYER + r"layer_norm\.(weight|bias)", r"layers.\1.attention_norm.\2"),
    (_LAYER + r"feed_forward\.intermediate_dense\.(weight|bias)", r"layers.\1.up.\2"),
    (_LAYER + r"feed_forward\.output_dense\.(weight|bias)", r"layers.\1.down.\2"),
    (_LAYER + r"final_layer_norm\.(weight|bias)", r"layers.\1.norm.\2"),
)
_ATTENTION = re.compile(_LAYER + r"attention\.q_proj\.(weight|bias)")
_POSITIONS = "encoder.pos_conv_embed.conv."
_WEIGHT_NORM = (
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
)
# A mask of MERT's training.
_UNUSED = "masked_spec_embed"


def rename_style(state: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Return the conditioner's tensors among those of audiocraft's LMModel by their new names.

    Raises: `UnsupportedCheckpoint` for an unknown tensor.
    """
    tensors: dict[str, Tensor] = {}
    books: dict[int, Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith(CONDITIONER):
            continue
        short = name.removeprefix(CONDITIONER).replace("_attn.mha.", "_attn.")
        book = _CODEBOOK.fullmatch(short)
        renamed = _rename(short, _STYLE_RULES)
        if book:
            books[int(book[1])] = tensor
        elif renamed is not None:
            tensors[f"{PREFIX}{renamed}"] = tensor
        elif not _TRAINING.fullmatch(short):
            raise UnsupportedCheckpoint(
                f"{where}: {name} is not a tensor of MusicGen-Style. A model with other "
                "layers cannot be read."
            )
    if books:
        tensors[f"{PREFIX}codebooks"] = torch.stack([books[k] for k in sorted(books)])
    return tensors


def rename_mert(state: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Return MERT's tensors by their new names.

    Raises: `UnsupportedCheckpoint` for an unknown tensor, `CheckpointIncomplete`.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        renamed = _rename(name, _MERT_RULES)
        attention = _ATTENTION.fullmatch(name)
        if attention:
            parts = [_get(state, name.replace("q_proj", f"{p}_proj"), where) for p in "qkv"]
            renamed, tensor = f"layers.{attention[1]}.qkv.{attention[2]}", torch.cat(parts)
        if renamed is not None:
            tensors[f"{PREFIX}features.{renamed}"] = tensor
        elif not _is_part(name):
            raise UnsupportedCheckpoint(
                f"{where}: {name} is not a tensor of MERT. A model with other "
                "layers cannot be read."
            )
    for magnitude, direction in _WEIGHT_NORM:
        if f"{_POSITIONS}{magnitude}" in state:
            # One magnitude for each place of the kernel, its last dimension.
            weight = torch._weight_norm(
                _get(state, f"{_POSITIONS}{direction}", where).float(),
                state[f"{_POSITIONS}{magnitude}"].float(),
                2,
            )
            tensors[f"{PREFIX}features.positions.weight"] = weight
    return tensors


def _get(state: Mapping[str, Tensor], name: str, where: Path) -> Tensor:
    if name not in state:
        raise CheckpointIncomplete(f"{where} lacks the tensor {name}")
    return state[name]


def _is_part(name: str) -> bool:
    """Return whether a tensor is part of another one, or of MERT's training."""
    positions = {f"{_POSITIONS}{part}" for pair in _WEIGHT_NORM for part in pair}
    is_attention = re.fullmatch(_LAYER + r"attention\.[kv]_proj\.(weight|bias)", name) is not None
    return is_attention or name in positions or name == _UNUSED


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, replacement in rules:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    return None
