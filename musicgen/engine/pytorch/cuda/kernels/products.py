"""LayerNorm, product, activation and sum in one kernel, for few rows.

A step at batch 1 reads each weight once and computes little with it: its time is that of the reads,
if nothing delays them. Each program reads some rows of the weight once for all rows of the batch.
The norm needs no pass of its own. With gain g, bias b, mean m and inverse deviation s of a row x,

    W (g (x - m) s + b) = s (W (g x) - m W g) + W b

so the sums of x and of its squares are taken in the same loop, and `W g`, `W b` come with the
weights.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.overlap import (
    prefetch,
    start_next,
    wait_for_previous,
)
from musicgen.engine.pytorch.cuda.kernels.tiles import FEW_ROWS, Shape, Tile, choose_tile
from musicgen.engine.pytorch.cuda.kernels.weights import StepProduct

MAX_ROWS = 16
"""Rows of a tensor core's tile; more rows are multiplied by cuBLAS."""
LINE_BYTES = 128
_ACTIVATIONS = {"": 0, "gelu": 1, "relu": 2}


@triton.jit(do_not_specialize=["rows"])
def _multiply(  # type: ignore[no-untyped-def]  # noqa: C901 - branches of the compiler
    x_at, weight_at, scale_at, gain_at, sums_at, offsets_at, added_at, out_at, rows, outputs,
    epsilon, inputs: tl.constexpr, padded: tl.constexpr, block_out: tl.constexpr,
    block_in: tl.constexpr, stages: tl.constexpr, dots: tl.constexpr, scaled: tl.constexpr,
    normed: tl.constexpr, activation: tl.constexpr, adds: tl.constexpr, kind: tl.constexpr,
    line: tl.constexpr, lines_padded: tl.constexpr, early: tl.constexpr,
):  # fmt: skip
    outs, row = tl.program_id(0) * block_out + tl.arange(0, block_out), tl.arange(0, padded)
    columns, is_out, is_row = tl.arange(0, block_in), outs < outputs, row < rows
    start_next(early)
    if early:
        lines = tl.minimum(tl.arange(0, lines_padded) * line, inputs - 1)
        near = tl.minimum(outs, outputs - 1)
        prefetch(weight_at + near[:, None] * inputs + lines[None, :], early)
    wait_for_previous(early)
    if dots:
        total = tl.zeros([padded, block_out], tl.float32)
    else:
        parts = tl.zeros([padded, block_out, block_in], tl.float32)
    mean, squares = tl.zeros([padded], tl.float32), tl.zeros([padded], tl.float32)
    for start in tl.range(0, inputs, block_in, num_stages=stages):
        at = start + columns
        inside = at < inputs
        offsets = outs[:, None] * inputs + at[None, :]
        weight = tl.load(weight_at + offsets, is_out[:, None] & inside[None, :], 0.0)
        offsets = row[:, None] * inputs + at[None, :]
        x = tl.load(x_at + offsets, is_row[:, None] & inside[None, :], 0.0)
        if normed:
            exact = x.to(tl.float32)
            mean += tl.sum(exact, 1)
            squares += tl.sum(exact * exact, 1)
            x = exact * tl.load(gain_at + at, inside, 0.0).to(tl.float32)[None, :]
        if dots:
            x = x.to(kind)
            total = tl.dot(x, tl.trans(weight.to(kind)), total, input_precision="ieee")
        else:
            parts += x.to(tl.float32)[:, None, :] * weight.to(tl.float32)[None, :, :]
    result = total if dots else tl.sum(parts, 2)
    if scaled:
        result *= tl.load(scale_at + outs, is_out, 0.0)[None, :]
    if normed:
        mean /= inputs
        inverse = 1.0 / tl.sqrt(tl.maximum(squares / inputs - mean * mean, 0.0) + epsilon)
        sums = tl.load(sums_at + outs, is_out, 0.0)
        result = inverse[:, None] * (result - mean[:, None] * sums[None, :])
        result += tl.load(offsets_at + outs, is_out, 0.0)[None, :]
    if activation == 1:
        result = 0.5 * result * (1.0 + tl.erf(result * 0.7071067811865476))
    if activation == 2:
        # A NaN stays one, as in PyTorch.
        result = tl.where(result < 0.0, 0.0, result)
    target = row[:, None] * outputs + outs[None, :]
    is_result = is_row[:, None] & is_out[None, :]
    if adds:
        result += tl.load(added_at + target, is_result, 0.0).to(tl.float32)
    tl.store(out_at + target, result.to(out_at.dtype.element_ty), is_result)


def multiply(
    x: Tensor,
    product: StepProduct,
    added: Tensor | None = None,
    *,
    tile: Tile | None = None,
    early: bool = False,
) -> Tensor:
    """Compute `twins.multiply` for at most `MAX_ROWS` rows; all tensors are contiguous.

    `tile`: in place of the chosen one. `early`: see `overlap`.
    """
    rows, inputs = x.shape
    outputs, unused = len(product.weight), x
    tile = tile or choose_tile(describe_shape(product, rows))
    dots = tile.dots or rows > FEW_ROWS
    out = torch.empty(rows, outputs, dtype=product.out_dtype, device=x.device)
    # Triton's interpreter multiplies the bits of bfloat16, so it gets float32.
    kind = tl.bfloat16 if x.dtype == torch.bfloat16 and x.device.type != "cpu" else tl.float32
    line = LINE_BYTES // product.weight.element_size()
    pointers = [product.scale, product.gain, product.sums, product.offsets, added]
    _multiply[(triton.cdiv(outputs, tile.outputs),)](
        x, product.weight, *(unused if p is None else p for p in pointers), out, rows, outputs,
        product.epsilon, inputs, MAX_ROWS if dots else triton.next_power_of_2(rows), tile.outputs,
        min(tile.inputs, triton.next_power_of_2(inputs)), tile.stages, dots,
        product.scale is not None, product.gain is not None, _ACTIVATIONS[product.activation],
        added is not None, kind, line,
        triton.next_power_of_2(triton.cdiv(inputs, line)), early, num_warps=tile.warps,
        launch_pdl=early,
    )  # fmt: skip
    return out


def describe_shape(product: StepProduct, rows: int) -> Shape:
    """Return the shape that a tile is chosen for."""
    outputs, inputs = product.weight.shape
    return outputs, inputs, product.weight.element_size(), rows if rows <= FEW_ROWS else MAX_ROWS
