"""Native parts of a model and their packed weight formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from musicgen.model.layers import Linear
from musicgen.model.native.decoder import ACTIVATIONS, NativeStep
from musicgen.model.native.forms import FLOAT16, FLOAT32, INT4, INT8
from musicgen.model.native.layer import NativeLinear
from musicgen.model.native.library import Library
from musicgen.model.native.text_encoder import NativePromptEncoder

if TYPE_CHECKING:
    from musicgen.model.musicgen import MusicGen

_FLOAT16_LARGEST = 65504
_REST = ("heads", "key_value")


class Forms(NamedTuple):
    """Formats of the products of a step's layers, of the rest of the decoder, of the text encoder.

    The rest are the logits and the keys and values of prompts.
    """

    layers: int
    rest: int
    text_encoder: int

    def of(self, name: str) -> int | None:
        """Return the format of a product by its name in `MusicGen`, None for the other parts."""
        part = name.partition(".")[0]
        if part == "decoder":
            return self.rest if name.endswith(_REST) else self.layers
        return self.text_encoder if part == "text_encoder" else None


FORMS = {
    "float32": Forms(FLOAT32, FLOAT32, FLOAT32),
    "bfloat16": Forms(FLOAT16, FLOAT16, FLOAT16),
    "int8": Forms(INT8, INT8, FLOAT16),
    "int4": Forms(INT4, INT8, FLOAT16),
}
"""Formats by precision. The text encoder runs once per prompt and would gain nothing from int8."""


def convert_to_native(library: Library, model: MusicGen, forms: Forms) -> bool:
    """Pack the weights of `model` and switch it to the native step; return False if impossible."""
    if not can_hold(model, forms):
        return False
    for name, linear, form in _list_products(model, forms):
        model.set_submodule(name, NativeLinear.pack(library, linear.weight, form))
    _convert_embedding(model, forms)
    model.decoder.native = NativeStep(library, model.decoder, forms.layers)
    weights = model.state_dict()
    arrays = {n: tensor.numpy() for n, tensor in weights.items() if n.startswith("text_")}
    model.native_prompts = NativePromptEncoder(library, model.config, arrays)
    return True


def can_hold(model: MusicGen, forms: Forms) -> bool:
    """Return whether the native step supports the activation and its formats hold all weights."""
    if model.config.decoder.activation not in ACTIVATIONS:
        return False
    embedding = model.text_encoder.embedding.weight
    return fits_form(embedding, forms.text_encoder) and all(
        fits_form(linear.weight, form) for _, linear, form in _list_products(model, forms)
    )


def fits_form(weight: Tensor, form: int | None) -> bool:
    """Return whether all values of a weight stay finite in `form`."""
    return form != FLOAT16 or bool(weight.abs().max() < _FLOAT16_LARGEST)


def _list_products(model: MusicGen, forms: Forms) -> list[tuple[str, Linear, int]]:
    """Return name, layer and format of each product to pack."""
    found = []
    for name, module in model.named_modules():
        form = forms.of(name)
        if isinstance(module, Linear) and form is not None:
            found.append((name, module, form))
    return found


def _convert_embedding(model: MusicGen, forms: Forms) -> None:
    """Convert the embedding to float16 to halve its memory; only a prompt's rows are read."""
    if forms.text_encoder != FLOAT16:
        return
    embedding = model.text_encoder.embedding
    embedding.weight = nn.Parameter(embedding.weight.to(torch.float16), requires_grad=False)
