"""Attention of one query per row over the live part of its cache.

A captured step attends to a rounded length and masks what lies beyond. This kernel reads the length
from the device, so one graph serves all lengths and nothing beyond is read. The softmax runs online
(Milakov and Gimelshein 2018).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_COLUMNS = 64


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    query_at, keys_at, values_at, first_at, end_at, out_at,
    heads, query_stride, row_stride, head_stride, scale,
    dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    head, row = tl.program_id(0), tl.program_id(1)
    first, end = tl.load(first_at + row), tl.load(end_at + row)
    dims, columns = tl.arange(0, padded), tl.arange(0, block)
    is_dim = dims < dim
    query = tl.load(query_at + row * query_stride + head * dim + dims, is_dim, 0.0).to(tl.float32)
    # The cache of a large batch has more numbers than 32 bits count.
    base = row.to(tl.int64) * row_stride + head * head_stride
    largest, total = tl.full([], float("-inf"), tl.float32), tl.zeros([], tl.float32)
    mixed = tl.zeros([padded], tl.float32)
    start = first
    # No range: Triton's interpreter cannot count to a loaded number with NumPy 2.4.
    while start < end:
        at = start + columns
        inside = (at < end)[:, None] & is_dim[None, :]
        offsets = base + at[:, None] * dim + dims[None, :]
        keys = tl.load(keys_at + offsets, inside, 0.0).to(tl.float32)
        scores = tl.where(at < end, tl.sum(keys * query[None, :], 1) * scale, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, 0))
        shrink, weights = tl.exp(largest - higher), tl.exp(scores - higher)
        values = tl.load(values_at + offsets, inside, 0.0).to(tl.float32)
        mixed = mixed * shrink + tl.sum(weights[:, None] * values, 0)
        total = total * shrink + tl.sum(weights, 0)
        largest = higher
        start += block
    out = (mixed / total).to(out_at.dtype.element_ty)
    tl.store(out_at + (row * heads + head) * dim + dims, out, is_dim)


def attend_live(query: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """Compute `twins.attend_live`.

    `query` has contiguous heads. `keys` and `values` have equal strides and contiguous steps.
    """
    rows, heads, dim = query.shape
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    strides = (query.stride(0), keys.stride(0), keys.stride(1))
    _attend[(heads, rows)](
        query, keys, values, first, end, out, heads, *strides, dim**-0.5,
        dim, triton.next_power_of_2(dim), BLOCK_COLUMNS,
    )  # fmt: skip
    return out
