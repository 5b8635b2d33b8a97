"""All decoder layers of one step, in nine kernels a layer.

PyTorch's operators need about twenty. Between two kernels the memory idles for a microsecond or
two, and a layer's reads take little longer. Here the norms, the activation and the sums are parts
of the products, and new keys and values are stored by the attention that reads them. Many rows are
multiplied by cuBLAS, whose products then take longer than the gaps between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.choice import StepKernels
from musicgen.engine.pytorch.cuda.kernels.twins import KeysValues
from musicgen.engine.pytorch.cuda.kernels.weights import (
    FUSED_ACTIVATIONS,
    StepProduct,
    build_product,
)
from musicgen.model.decoder import Decoder, DecoderLayer
from musicgen.model.layers import get_activation


@dataclass(frozen=True)
class LayerProducts:
    """Products of one layer; `query` and `prompt_out` are of cross-attention, or None."""

    joined: StepProduct
    out: StepProduct
    query: StepProduct | None
    prompt_out: StepProduct | None
    up: StepProduct
    down: StepProduct


class FusedLayers:
    """The layers, final norm and heads of `decoder`, run by `kernels`.

    `weights`: "" for the decoder's own, or a name in `weights.FORMS`: then they are rounded.
    """

    @torch.inference_mode()
    def __init__(self, decoder: Decoder, kernels: StepKernels, *, weights: str = "") -> None:
        self.kernels, self._heads = kernels, decoder.config.heads
        name = decoder.config.activation
        self._activation = FUSED_ACTIVATIONS.get(name, "")
        self._other = None if self._activation else get_activation(name)
        self._layers = [
            self._build_layer(cast(DecoderLayer, layer), weights) for layer in decoder.layers
        ]
        self._predict = build_product(
            decoder.heads.weight, form=weights, norm=decoder.norm, out_dtype=torch.float32
        )

    def _build_layer(self, layer: DecoderLayer, weights: str) -> LayerProducts:
        own, prompt = layer.self_attention, getattr(layer, "cross_attention", None)
        query = prompt_out = None
        if prompt is not None:
            norm = layer.cross_attention_norm
            query = build_product(prompt.query.weight, form=weights, norm=norm)
            prompt_out = build_product(prompt.out.weight, form=weights)
        return LayerProducts(
            joined=build_product(own.qkv.weight, form=weights, norm=layer.self_attention_norm),
            out=build_product(own.out.weight, form=weights),
            query=query,
            prompt_out=prompt_out,
            up=build_product(
                layer.up.weight, form=weights, norm=layer.ffn_norm, activation=self._activation
            ),
            down=build_product(layer.down.weight, form=weights),
        )

    def __call__(
        self,
        x: Tensor,
        live: tuple[Tensor, Tensor],
        cache: KeysValues,
        prompts: KeysValues | None,
        prompt_live: tuple[Tensor, Tensor],
        factors: KeysValues | None = None,
    ) -> Tensor:
        """Run `x` (rows, hidden) through all layers: float32 logits (rows, outputs of the heads).

        `live`: first column and end (rows,) of the rows' own steps, with the new one, which is
        stored. `cache`, `prompts`: (layers, rows, heads, steps, head_dim). `prompt_live`: as
        `live`, of the prompts. `factors`: of an int8 `cache`, (layers, rows, heads, steps).
        """
        rows = len(x)
        for index, layer in enumerate(self._layers):
            joined = self._multiply(x, layer.joined)
            own = cache[0][index], cache[1][index]
            scales = None if factors is None else (factors[0][index], factors[1][index])
            mixed = self.kernels.append_attend(joined, *own, *live, scales)
            x = self._multiply(mixed.view(rows, -1), layer.out, x)
            if layer.query is not None and layer.prompt_out is not None and prompts is not None:
                query = self._multiply(x, layer.query).view(rows, self._heads, -1)
                prompt = prompts[0][index], prompts[1][index]
                mixed = self.kernels.attend(query, *prompt, *prompt_live)
                x = self._multiply(mixed.view(rows, -1), layer.prompt_out, x)
            wide = self._multiply(x, layer.up)
            if self._other is not None:
                wide = self._other(wide)
            x = self._multiply(wide, layer.down, x)
        return self._multiply(x, self._predict)

    def _multiply(self, x: Tensor, product: StepProduct, added: Tensor | None = None) -> Tensor:
        if self.kernels.multiply is not None and len(x) <= self.kernels.most_rows:
            return self.kernels.multiply(x, product, added)
        return multiply_many(x, product, added)


def multiply_many(x: Tensor, product: StepProduct, added: Tensor | None = None) -> Tensor:
    """Compute `product` by PyTorch's operators. `added` is overwritten: the sum needs no kernel."""
    if product.gain is not None:
        x = F.layer_norm(x, x.shape[-1:], product.gain, product.bias, product.epsilon)
    if added is not None:
        return added.addmm_(x, product.plain.t())
    result = F.linear(x, product.plain)
    if product.activation:
        result = get_activation(product.activation)(result)
    return result.to(product.out_dtype)
