"""Attention of one query per row over the live part of its cache, split over its length.

A captured step attends to a rounded length and masks what lies beyond. This kernel reads the length
from the device, so one graph serves all lengths and nothing beyond is read. The softmax runs online
(Milakov and Gimelshein 2018). With few rows and heads, programs of one head share its columns, and
a second kernel combines their partial softmaxes ("Flash-Decoding", Dao et al. 2023): one program
for each head would leave most of a large GPU idle.

An int8 cache has a factor for each column of a head. Its numbers are read as they are: the factor
of a key multiplies its score, that of a value its weight.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.overlap import start_next, wait_for_previous
from musicgen.engine.pytorch.cuda.kernels.twins import (
    LARGEST_INT8,
    SMALLEST_MAXIMUM,
    KeysValues,
)

BLOCKS = {False: (64, 4), True: (128, 2)}
"""Columns that a program reads at once, and its warps, without and with an int8 cache.

Both read as many bytes. For int8, half the warps over twice the columns take 4.6 instructions per
number instead of 7.7 (compiled for Hopper); with these, instructions would take longer than reads.
"""
MAX_SPLITS = 16
PROGRAMS_PER_PROCESSOR = 4
"""Programs that together hold enough reads in flight for a multiprocessor's memory bandwidth."""

_SMALLEST, _STEP = tl.constexpr(SMALLEST_MAXIMUM), tl.constexpr(1 / LARGEST_INT8)


@triton.jit
def _quantize(x):  # type: ignore[no-untyped-def]
    """Compute `twins.quantize_vectors` of one vector, the numbers still in float32."""
    x = x.to(tl.float32)
    # The maximum passes over a NaN, so these are counted apart; a NaN is not below infinity either.
    broken = tl.max((tl.abs(x) < float("inf")).to(tl.int32) ^ 1, 0) != 0
    factor = tl.maximum(tl.max(tl.abs(x), 0), _SMALLEST) * _STEP
    # Exact division, as in PyTorch: the start compares the stored numbers for equality.
    numbers = tl.floor(tl.div_rn(x, tl.zeros_like(x) + factor) + 0.5)
    return tl.where(broken, 0.0, numbers), tl.where(broken, float("nan"), factor)


@triton.jit
def _store_column(  # type: ignore[no-untyped-def]
    key, value, keys_at, values_at, key_factors_at, value_factors_at, column, factor, is_dim,
    quantized: tl.constexpr,
):  # fmt: skip
    """Store a key and a value at the offsets `column`, and their factors at `factor`.

    Returns: both as later steps read them.
    """
    if quantized:
        key, key_factor = _quantize(key)
        value, value_factor = _quantize(value)
        tl.store(keys_at + column, key.to(tl.int8), is_dim)
        tl.store(values_at + column, value.to(tl.int8), is_dim)
        tl.store(key_factors_at + factor, key_factor)
        tl.store(value_factors_at + factor, value_factor)
        key *= key_factor
        value *= value_factor
    else:
        tl.store(keys_at + column, key, is_dim)
        tl.store(values_at + column, value, is_dim)
    return key.to(tl.float32), value.to(tl.float32)


@triton.jit
def _store_result(  # type: ignore[no-untyped-def]
    mixed, total, largest, out_at, sums_at, head, split, splits: tl.constexpr, dim: tl.constexpr,
    dims, is_dim,
):  # fmt: skip
    """Store the result of `head` of all rows, or the part that a split has of it."""
    if splits == 1:
        out = (mixed / total).to(out_at.dtype.element_ty)
        tl.store(out_at + head * dim + dims, out, is_dim)
    else:
        part = head * splits + split
        tl.store(out_at + part * dim + dims, mixed, is_dim)
        tl.store(sums_at + 2 * part, largest)
        tl.store(sums_at + 2 * part + 1, total)


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    query_at, key_at, value_at, keys_at, values_at, key_factors_at, value_factors_at, first_at,
    end_at, out_at, sums_at, heads, query_stride, row_stride, head_stride, scale,
    splits: tl.constexpr, appends: tl.constexpr, quantized: tl.constexpr, dim: tl.constexpr,
    padded: tl.constexpr, block: tl.constexpr, early: tl.constexpr,
):  # fmt: skip
    head, row, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    start_next(early)
    wait_for_previous(early)
    first, end = tl.load(first_at + row), tl.load(end_at + row)
    # Splits are whole blocks of the live part; at short lengths the last ones are empty.
    size = tl.cdiv(tl.cdiv(end - first, splits), block) * block
    begin = first + split * size
    stop = tl.minimum(begin + size, end)
    dims, columns = tl.arange(0, padded), tl.arange(0, block)
    is_dim = dims < dim
    own = row * query_stride + head * dim + dims
    query = tl.load(query_at + own, is_dim, 0.0).to(tl.float32)
    # The cache of a large batch has more numbers than 32 bits count.
    base = row.to(tl.int64) * row_stride + head * head_stride
    # The factors lie as the numbers do, one for `dim` of these.
    factors_base = base // dim
    largest, total = tl.full([], float("-inf"), tl.float32), tl.zeros([], tl.float32)
    mixed = tl.zeros([padded], tl.float32)
    start = begin
    cached = tl.minimum(stop, end - 1) if appends else stop
    # No range: Triton's interpreter cannot count to a loaded number with NumPy 2.4.
    while start < cached:
        at = start + columns
        inside = (at < cached)[:, None] & is_dim[None, :]
        offsets = base + at[:, None] * dim + dims[None, :]
        # Both reads before the first use: one wait for memory instead of two.
        keys = tl.load(keys_at + offsets, inside, 0.0)
        values = tl.load(values_at + offsets, inside, 0.0)
        if quantized:
            key_factors = tl.load(key_factors_at + factors_base + at, at < cached, 0.0)
            value_factors = tl.load(value_factors_at + factors_base + at, at < cached, 0.0)
        scores = tl.sum(keys.to(tl.float32) * query[None, :], 1) * scale
        if quantized:
            scores *= key_factors
        scores = tl.where(at < cached, scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, 0))
        shrink, weights = tl.exp(largest - higher), tl.exp(scores - higher)
        total = total * shrink + tl.sum(weights, 0)
        if quantized:
            weights *= value_factors
        mixed = mixed * shrink + tl.sum(weights[:, None] * values.to(tl.float32), 0)
        largest = higher
        start += block
    if appends:  # noqa: SIM102 - Triton decides the outer one when it compiles
        if (begin < end) & (stop == end):
            # The one program with the last column stores it; no other program reads it.
            key, value = tl.load(key_at + own, is_dim, 0.0), tl.load(value_at + own, is_dim, 0.0)
            key, value = _store_column(
                key, value, keys_at, values_at, key_factors_at, value_factors_at,
                base + (end - 1) * dim + dims, factors_base + end - 1, is_dim, quantized,
            )  # fmt: skip
            score = tl.sum(key * query, 0) * scale
            higher = tl.maximum(largest, score)
            shrink, weight = tl.exp(largest - higher), tl.exp(score - higher)
            mixed = mixed * shrink + weight * value
            total = total * shrink + weight
            largest = higher
    _store_result(
        mixed, total, largest, out_at, sums_at, row * heads + head, split, splits, dim, dims, is_dim
    )


@triton.jit
def _combine(  # type: ignore[no-untyped-def]
    parts_at, sums_at, out_at, splits: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr,
    early: tl.constexpr,
):  # fmt: skip
    own = tl.program_id(0)
    start_next(early)
    wait_for_previous(early)
    parts, dims = own * splits + tl.arange(0, splits), tl.arange(0, padded)
    is_dim = dims < dim
    largest, totals = tl.load(sums_at + 2 * parts), tl.load(sums_at + 2 * parts + 1)
    offsets = parts[:, None] * dim + dims[None, :]
    mixed = tl.load(parts_at + offsets, is_dim[None, :], 0.0)
    # The first split is never empty, so the maximum is finite; an empty one gets the factor 0.
    factors = tl.exp(largest - tl.max(largest, 0))
    out = tl.sum(mixed * factors[:, None], 0) / tl.sum(totals * factors, 0)
    tl.store(out_at + own * dim + dims, out.to(out_at.dtype.element_ty), is_dim)


def attend_live(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor,
    end: Tensor,
    factors: KeysValues | None = None,
    *,
    early: bool = False,
) -> Tensor:
    """Compute `twins.attend_live`; `early`: see `overlap`.

    `query` has contiguous heads. `keys` and `values` have equal strides and contiguous steps, and
    `factors` the same strides over their head_dim.
    """
    return _launch(query, None, (keys, values), factors, (first, end), early)


def append_attend(
    joined: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor,
    end: Tensor,
    factors: KeysValues | None = None,
    *,
    early: bool = False,
) -> Tensor:
    """Compute `twins.append_attend`; `joined` is contiguous, the rest as in `attend_live`."""
    query, key, value = joined.view(len(joined), 3, keys.shape[1], keys.shape[3]).unbind(1)
    return _launch(query, (key, value), (keys, values), factors, (first, end), early)


Live = tuple[Tensor, Tensor]


def _launch(
    query: Tensor,
    new: KeysValues | None,
    cached: KeysValues,
    factors: KeysValues | None,
    live: Live,
    early: bool,
) -> Tensor:
    rows, heads, dim = query.shape
    keys, values = cached
    block, warps = BLOCKS[factors is not None]
    splits = choose_splits(rows * heads, triton.cdiv(keys.shape[2], block), query.device)
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    sums, target = out, out
    if splits > 1:
        target = torch.empty(rows, heads, splits, dim, dtype=torch.float32, device=query.device)
        sums = torch.empty(rows, heads, splits, 2, dtype=torch.float32, device=query.device)
    key, value = (query, query) if new is None else new
    strides = (query.stride(0), keys.stride(0), keys.stride(1))
    padded = triton.next_power_of_2(dim)
    _attend[(heads, rows, splits)](
        query, key, value, keys, values, *(factors or cached), *live, target, sums, heads,
        *strides, dim**-0.5, splits, new is not None, factors is not None, dim, padded,
        block, early, num_warps=warps, launch_pdl=early,
    )  # fmt: skip
    if splits > 1:
        _combine[(rows * heads,)](
            target, sums, out, splits, dim, padded, early, num_warps=2, launch_pdl=early
        )
    return out


def choose_splits(programs: int, blocks: int, device: torch.device) -> int:
    """Return the splits of each head, a power of two, for `programs` heads with `blocks` each."""
    wanted = PROGRAMS_PER_PROCESSOR * _count_processors(device) // programs
    most = min(MAX_SPLITS, max(wanted, 1), blocks)
    return 1 << (int(most).bit_length() - 1)


@cache
def _count_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
