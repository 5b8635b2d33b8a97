"""LayerNorm and a product with 8-bit weights in one kernel, for few rows.

A step at batch 1 reads each weight once and computes little with it, so half the bytes are half of
its time at best. Every program normalises the rows again: they lie in the cache, and a kernel and a
round trip through memory are saved.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_OUTPUTS, BLOCK_INPUTS = 16, 256


@triton.jit
def _multiply(  # type: ignore[no-untyped-def]
    x_at, gain_at, bias_at, weight_at, scale_at, out_at, outputs,
    inputs: tl.constexpr, block_out: tl.constexpr, block_in: tl.constexpr,
):  # fmt: skip
    row, first = tl.program_id(1), tl.program_id(0) * block_out
    columns, outs = tl.arange(0, block_in), first + tl.arange(0, block_out)
    total = tl.zeros([block_in], tl.float32)
    for start in range(0, inputs, block_in):
        at = start + columns
        total += tl.load(x_at + row * inputs + at, at < inputs, 0.0).to(tl.float32)
    mean = tl.sum(total, 0) / inputs
    squares = tl.zeros([block_in], tl.float32)
    for start in range(0, inputs, block_in):
        at = start + columns
        x = tl.load(x_at + row * inputs + at, at < inputs, 0.0).to(tl.float32)
        squares += tl.where(at < inputs, (x - mean) * (x - mean), 0.0)
    inverse = 1.0 / tl.sqrt(tl.sum(squares, 0) / inputs + 1e-5)
    product = tl.zeros([block_out, block_in], tl.float32)
    for start in range(0, inputs, block_in):
        at = start + columns
        inside = at < inputs
        x = tl.load(x_at + row * inputs + at, inside, 0.0).to(tl.float32)
        gain = tl.load(gain_at + at, inside, 0.0).to(tl.float32)
        bias = tl.load(bias_at + at, inside, 0.0).to(tl.float32)
        normal = (x - mean) * inverse * gain + bias
        is_weight = (outs[:, None] < outputs) & inside[None, :]
        weight = tl.load(weight_at + outs[:, None] * inputs + at[None, :], is_weight, 0)
        product += weight.to(tl.float32) * normal[None, :]
    scale = tl.load(scale_at + outs, outs < outputs, 0.0)
    result = tl.sum(product, 1) * scale
    tl.store(out_at + row * outputs + outs, result.to(out_at.dtype.element_ty), outs < outputs)


def normalize_multiply(
    x: Tensor, gain: Tensor, bias: Tensor, weight: Tensor, scale: Tensor
) -> Tensor:
    """Compute `twins.normalize_multiply`; all tensors are contiguous."""
    rows, inputs = x.shape
    outputs = len(weight)
    out = torch.empty(rows, outputs, dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(outputs, BLOCK_OUTPUTS), rows)
    _multiply[grid](x, gain, bias, weight, scale, out, outputs, inputs, BLOCK_OUTPUTS, BLOCK_INPUTS)
    return out
