"""Tensor names of audiocraft, and their names in a Hugging Face checkpoint.

Source: the modules of audiocraft 1.3 (`models/lm.py`, `modules/transformer.py`,
`modules/conditioners.py`, `modules/seanet.py`, `quantization/core_vq.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

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
_CONDITIONER_NAME = re.compile(r"condition_provider\.conditioners\.(\w+)\.(.+)")


def rename_language_model(state: Mapping[str, Tensor], where: Path) -> dict[str, Tensor]:
    """Rename the tensors of audiocraft's LMModel to the names of a Hugging Face checkpoint.

    Raises: `UnsupportedCheckpoint` for an unknown tensor.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        fused = _FUSED_NAME.fullmatch(name)
        if fused and fused[2] in _FUSED:
            block = f"{_DECODER}.layers.{fused[1]}.{_FUSED[fused[2]]}"
            parts = tensor.chunk(3)
            tensors |= {f"{block}.{p}_proj.weight": t for p, t in zip("qkv", parts, strict=True)}
            continue
        renamed = _rename(name)
        if renamed is None:
            raise UnsupportedCheckpoint(f"{where}: {name} is not a tensor of MusicGen")
        if renamed:
            tensors[renamed] = tensor
    return tensors


def rename_codec(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of audiocraft's EnCodec to the names of a Hugging Face checkpoint."""
    return {f"audio_encoder.{_codec_name(name)}": tensor for name, tensor in state.items()}


def _rename(name: str) -> str | None:
    """Return the new name, "" for a tensor to leave out, None for an unknown one."""
    for pattern, replacement in _RULES:
        if re.fullmatch(pattern, name):
            return re.sub(pattern, replacement, name)
    layer = _LAYER_NAME.fullmatch(name)
    if layer and layer[2] in _LAYER:
        return f"{_DECODER}.layers.{layer[1]}.{_LAYER[layer[2]]}.{layer[3]}"
    conditioner = _CONDITIONER_NAME.fullmatch(name)
    if conditioner and conditioner[1] in _CONDITIONERS:
        part = conditioner[2].removeprefix("output_proj.")
        # The chroma filters are constants, not weights.
        return f"{_CONDITIONERS[conditioner[1]]}.{part}" if part != conditioner[2] else ""
    return None


def _codec_name(name: str) -> str:
    name = re.sub(r"^(encoder|decoder)\.model\.", r"\1.layers.", name)
    name = re.sub(r"\.(conv|convtr)\.(conv|convtr)\.", ".conv.", name)
    name = name.replace("quantizer.vq.layers.", "quantizer.layers.")
    return name.replace("._codebook.", ".codebook.")
