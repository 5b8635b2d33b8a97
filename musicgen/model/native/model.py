"""Native parts of a model and their packed weight formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from musicgen.model.fbgemm import pack_linears
from musicgen.model.layers import Embedding, Linear
from musicgen.model.native.decoder import ACTIVATIONS, NativeStep
from musicgen.model.native.forms import FLOAT16, FLOAT32, INT8
from musicgen.model.native.layer import NativeLinear
from musicgen.model.native.library import Library
from musicgen.model.native.text_encoder import NativePromptEncoder

if TYPE_CHECKING:
    from musicgen.model.musicgen import MusicGen

_FLOAT16_LARGEST = 65504


class Forms(NamedTuple):
    """Formats of the decoder's weights and of the text encoder's."""

    decoder: int
    text_encoder: int


FORMS = {
    "float32": Forms(FLOAT32, FLOAT32),
    "bfloat16": Forms(FLOAT16, FLOAT16),
    "int8": Forms(INT8, FLOAT16),
}
"""Formats by precision. The text encoder runs once per prompt and would gain nothing from int8."""


def convert_to_native(library: Library, model: MusicGen, forms: Forms) -> bool:
    """Pack the weights of `model` and switch it to the native step; return False if impossible."""
    if not can_hold(model, forms):
        return False
    pack_linears(model.decoder, lambda w: NativeLinear.pack(library, w, forms.decoder))
    pack_linears(model.text_encoder, lambda w: NativeLinear.pack(library, w, forms.text_encoder))
    _convert_embedding(model, forms)
    model.decoder.native = NativeStep(library, model.decoder, forms.decoder)
    weights = model.state_dict()
    arrays = {n: tensor.numpy() for n, tensor in weights.items() if n.startswith("text_")}
    model.native_prompts = NativePromptEncoder(library, model.config, arrays)
    return True


def can_hold(model: MusicGen, forms: Forms) -> bool:
    """Return whether the native step supports the activation and its formats hold all weights."""
    if model.config.decoder.activation not in ACTIVATIONS:
        return False
    parts = ((model.decoder, forms.decoder), (model.text_encoder, forms.text_encoder))
    return all(
        fits_form(module.weight, form)
        for part, form in parts
        for module in part.modules()
        if isinstance(module, (Linear, Embedding))
    )


def fits_form(weight: Tensor, form: int | None) -> bool:
    """Return whether all values of a weight stay finite in `form`."""
    return form != FLOAT16 or bool(weight.abs().max() < _FLOAT16_LARGEST)


def _convert_embedding(model: MusicGen, forms: Forms) -> None:
    """Convert the embedding to float16 to halve its memory; only a prompt's rows are read."""
    if forms.text_encoder != FLOAT16:
        return
    embedding = model.text_encoder.embedding
    embedding.weight = nn.Parameter(embedding.weight.to(torch.float16), requires_grad=False)
