"""Weights of the products in a decode step, with what the product kernel needs beside them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
LARGEST = {torch.int8: 127.0, FP8: 448.0}
FORMS = {"int8": torch.int8, "fp8": FP8}
FUSED_ACTIVATIONS = {"gelu": "gelu", "relu": "relu"}
"""Activations computed by the product kernel; others are a kernel of their own."""


@dataclass(frozen=True)
class StepProduct:
    """StepProduct with a weight; optionally LayerNorm before it, and an activation after it.

    `weight`: (outputs, inputs), of the model's type, int8, or fp8 with `scale` (outputs,) in
    float32. `plain`: the same in the model's type. `gain`, `bias`: (inputs,) of the norm, or None.
    `sums`, `offsets`: (outputs,) float32; the weight's products with gain and bias. They let the
    kernel apply the norm after the product, so that it reads each row of the input once.
    """

    weight: Tensor
    plain: Tensor
    scale: Tensor | None
    gain: Tensor | None
    bias: Tensor | None
    sums: Tensor | None
    offsets: Tensor | None
    epsilon: float
    activation: str
    out_dtype: torch.dtype


def build_product(
    weight: Tensor,
    *,
    form: str = "",
    norm: nn.LayerNorm | None = None,
    activation: str = "",
    out_dtype: torch.dtype | None = None,
) -> StepProduct:
    """Build a product; `form`: "" keeps the weight's type, or a name in `FORMS`.

    Rounding changes `weight` itself as well: prefills and large batches use it, and a clip must
    not sound otherwise in another batch.
    """
    stored, scale = weight, None
    if form:
        stored, scale = quantize_rows(weight, FORMS[form])
        weight.copy_(stored.float() * scale[:, None])
    sums = offsets = None
    if norm is not None:
        exact = weight.float() if scale is None else stored.float() * scale[:, None]
        sums, offsets = exact @ norm.weight.float(), exact @ norm.bias.float()
    return StepProduct(
        weight=stored,
        plain=weight,
        scale=scale,
        gain=None if norm is None else norm.weight,
        bias=None if norm is None else norm.bias,
        sums=sums,
        offsets=offsets,
        epsilon=0.0 if norm is None else norm.eps,
        activation=activation,
        out_dtype=out_dtype or weight.dtype,
    )


def quantize_rows(weight: Tensor, dtype: torch.dtype = torch.int8) -> tuple[Tensor, Tensor]:
    """Round each row of `weight` (outputs, inputs) to `dtype` times a scale.

    `dtype`: int8 or fp8 (E4M3). Returns: that type in the same shape, and float32 scales
    (outputs,).
    """
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / LARGEST[dtype]
    scaled = weight.float() / scale[:, None]
    return (torch.round(scaled) if dtype == torch.int8 else scaled).to(dtype), scale
