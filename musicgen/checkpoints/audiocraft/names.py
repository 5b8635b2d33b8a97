"""Tensor names of audiocraft, and their names in a Hugging Face checkpoint.

Source: the modules of audiocraft 1.4.0a2 (`models/lm.py`, `modules/transformer.py`,
`modules/conditioners.py`, `modules/seanet.py`, `quantization/core_vq.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from musicgen.errors import UnsupportedCheckpoint

_DECODER = "decoder.model.decoder"
_LAYER = {
    "self_attn.out_proj": "self_attn.out_proj",
    "cross_attention.out_proj": "encoder_attn.out_proj",
    "linear1": "fc1",
    "linear2": "fc2",
    "norm1": "self_attn_layer_norm",
    "norm_cross": "encoder_attn_layer_norm",
    "norm2": "final_layer_norm",
}
_FUSED = {"self_attn": "self_attn", "cross_attention": "encoder_attn"}
_CONDITIONERS = {"description": "enc_to_dec_proj", "self_wav": "audio_enc_to_dec_proj"}
_RULES: tuple[tuple[str, str], ...] = (
    (r"emb\.(\d+)\.weight", rf"{_DECODER}.embed_tokens.\1.weight"),
    (r"linears\.(\d+)\.weight", r"decoder.lm_heads.\1.weight"),
    (r"out_norm\.(weight|bias)", rf"{_DECODER}.layer_norm.\1"),
)
_LAYER_NAME = re.compile(r"transformer\.layers\.(\d+)\.(.+)\.(weight|bias)")
_FUSED_NAME = re.compile(r"transformer\.layers\.(\d+)\.(\w+)\.in_proj_weight")
_CONDITIONER_NAME = re.compile(
    r"condition_provider\.conditioners\.(\w+)\.output_proj\.(weight|bias)"
)
_TEXT_ENCODER = "condition_provider.conditioners.description.t5."
# The window and the filters of the chroma.
_CONSTANTS = frozenset(
    f"condition_provider.conditioners.self_wav.chroma.{name}" for name in ("spec.window", "fbanks")
)
_CODEBOOK = re.compile(r"quantizer\.layers\.(\d+)\.")
_EXTRA = re.compile(
    r"audio_encoder\.quantizer\.layers\.\d+\.codebook\.(inited|cluster_size|embed_avg)"
    r"|text_encoder\.(shared|encoder\.embed_tokens)\.weight"
)


def rename_language_model(
    state: Mapping[str, Tensor], where: Path, *, with_text_encoder: bool = False
) -> dict[str, Tensor]:
    """Rename the tensors of audiocraft's LMModel to the names of a Hugging Face checkpoint.

    `with_text_encoder`: the text encoder was trained too.
    Raises: `UnsupportedCheckpoint` for an unknown tensor.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        # PyTorch's attention, neither custom nor memory_efficient, has one level more.
        plain = name.replace("_attn.mha.", "_attn.").replace("_attention.mha.", "_attention.")
        fused = _FUSED_NAME.fullmatch(plain)
        if fused and fused[2] in _FUSED and tensor.dim() == 2 and len(tensor) % 3 == 0:
            block = f"{_DECODER}.layers.{fused[1]}.{_FUSED[fused[2]]}"
            parts = tensor.chunk(3)
            tensors |= {f"{block}.{p}_proj.weight": t for p, t in zip("qkv", parts, strict=True)}
            continue
        if name in _CONSTANTS:
            continue
        renamed = _rename(plain)
        if renamed is None and with_text_encoder and name.startswith(_TEXT_ENCODER):
            renamed = f"text_encoder.{name.removeprefix(_TEXT_ENCODER)}"
        if renamed is None:
            raise UnsupportedCheckpoint(
                f"{where}: {name} is not a tensor of MusicGen. A model with other "
                "layers cannot be read."
            )
        tensors[renamed] = tensor
    return tensors


def rename_codec(state: Mapping[str, Tensor], codebooks: int | None = None) -> dict[str, Tensor]:
    """Rename the tensors of audiocraft's EnCodec to the names of a Hugging Face checkpoint.

    `codebooks`: the number of codebooks to keep, None for all.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        renamed = _codec_name(name)
        book = _CODEBOOK.match(renamed)
        if book and codebooks is not None and int(book[1]) >= codebooks:
            continue
        if renamed.endswith(".conv.weight"):
            # A convolution without weight normalization.
            prefix = f"audio_encoder.{renamed}"
            tensors[f"{prefix}_g"], tensors[f"{prefix}_v"] = _normalize(tensor)
        else:
            tensors[f"audio_encoder.{renamed}"] = tensor
    return tensors


def is_known_extra(name: str) -> bool:
    """Return whether a Hugging Face checkpoint has this tensor for training alone, or twice."""
    return _EXTRA.fullmatch(name) is not None


def _normalize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return magnitude and direction of a weight, for each first index."""
    rest = tuple(range(1, weight.dim()))
    magnitude = weight.norm(dim=rest, keepdim=True)
    return magnitude, torch.where(magnitude > 0, weight, torch.ones_like(weight))


def _rename(name: str) -> str | None:
    """Return the new name, None for an unknown one."""
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    layer = _LAYER_NAME.fullmatch(name)
    if layer and layer[2] in _LAYER:
        return f"{_DECODER}.layers.{layer[1]}.{_LAYER[layer[2]]}.{layer[3]}"
    conditioner = _CONDITIONER_NAME.fullmatch(name)
    if conditioner and conditioner[1] in _CONDITIONERS:
        return f"{_CONDITIONERS[conditioner[1]]}.{conditioner[2]}"
    return None


def _codec_name(name: str) -> str:
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = re.sub(r"\.(conv|convtr)\.(conv|convtr)\.", ".conv.", name)
    name = name.replace("quantizer.vq.layers.", "quantizer.layers.")
    return name.replace("._codebook.", ".codebook.")
