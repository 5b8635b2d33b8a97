"""Attention of one query per row over the live part of its cache, split over its length.

A captured step attends to a rounded length and masks what lies beyond. This kernel reads the length
from the device, so one graph serves all lengths and nothing beyond is read. The softmax runs online
(Milakov and Gimelshein 2018). With few rows and heads, programs of one head share its columns, and
a second kernel combines their partial softmaxes ("Flash-Decoding", Dao et al. 2023): one program
for each head would leave most of a large GPU idle.
"""

from __future__ import annotations

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.overlap import start_next, wait_for_previous

BLOCK_COLUMNS = 64
MAX_SPLITS = 16
PROGRAMS_PER_PROCESSOR = 4
"""Programs that together hold enough reads in flight for a multiprocessor's memory bandwidth."""


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    query_at, key_at, value_at, keys_at, values_at, first_at, end_at, out_at, sums_at,
    heads, query_stride, row_stride, head_stride, scale, splits: tl.constexpr,
    appends: tl.constexpr, dim: tl.constexpr, padded: tl.constexpr, block: tl.constexpr,
    early: tl.constexpr,
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
        scores = tl.sum(keys.to(tl.float32) * query[None, :], 1) * scale
        scores = tl.where(at < cached, scores, float("-inf"))
        higher = tl.maximum(largest, tl.max(scores, 0))
        shrink, weights = tl.exp(largest - higher), tl.exp(scores - higher)
        mixed = mixed * shrink + tl.sum(weights[:, None] * values.to(tl.float32), 0)
        total = total * shrink + tl.sum(weights, 0)
        largest = higher
        start += block
    if appends:  # noqa: SIM102 - Triton decides the outer one when it compiles
        if (begin < end) & (stop == end):
            # The one program with the last column stores it; no other program reads it.
            key, value = tl.load(key_at + own, is_dim, 0.0), tl.load(value_at + own, is_dim, 0.0)
            offsets = base + (end - 1) * dim + dims
            tl.store(keys_at + offsets, key, is_dim)
            tl.store(values_at + offsets, value, is_dim)
            score = tl.sum(key.to(tl.float32) * query, 0) * scale
            higher = tl.maximum(largest, score)
            shrink, weight = tl.exp(largest - higher), tl.exp(score - higher)
            mixed = mixed * shrink + weight * value.to(tl.float32)
            total = total * shrink + weight
            largest = higher
    if splits == 1:
        out = (mixed / total).to(out_at.dtype.element_ty)
        tl.store(out_at + (row * heads + head) * dim + dims, out, is_dim)
    else:
        part = (row * heads + head) * splits + split
        tl.store(out_at + part * dim + dims, mixed, is_dim)
        tl.store(sums_at + 2 * part, largest)
        tl.store(sums_at + 2 * part + 1, total)


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
    query: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor, *, early: bool = False
) -> Tensor:
    """Compute `twins.attend_live`; `early`: see `overlap`.

    `query` has contiguous heads. `keys` and `values` have equal strides and contiguous steps.
    """
    return _launch(query, None, (keys, values), (first, end), early)


def append_attend(
    joined: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor, *, early: bool = False
) -> Tensor:
    """Compute `twins.append_attend`; `joined` is contiguous, the rest as in `attend_live`."""
    query, key, value = joined.view(len(joined), 3, keys.shape[1], keys.shape[3]).unbind(1)
    return _launch(query, (key, value), (keys, values), (first, end), early)


Pair = tuple[Tensor, Tensor]


def _launch(query: Tensor, new: Pair | None, cached: Pair, live: Pair, early: bool) -> Tensor:
    rows, heads, dim = query.shape
    keys, values = cached
    splits = choose_splits(rows * heads, keys.shape[2], query.device)
    out = torch.empty(query.shape, dtype=query.dtype, device=query.device)
    sums, target = out, out
    if splits > 1:
        target = torch.empty(rows, heads, splits, dim, dtype=torch.float32, device=query.device)
        sums = torch.empty(rows, heads, splits, 2, dtype=torch.float32, device=query.device)
    key, value = (query, query) if new is None else new
    strides = (query.stride(0), keys.stride(0), keys.stride(1))
    padded = triton.next_power_of_2(dim)
    _attend[(heads, rows, splits)](
        query, key, value, keys, values, *live, target, sums, heads, *strides, dim**-0.5,
        splits, new is not None, dim, padded, BLOCK_COLUMNS, early, launch_pdl=early,
    )  # fmt: skip
    if splits > 1:
        _combine[(rows * heads,)](
            target, sums, out, splits, dim, padded, early, num_warps=2, launch_pdl=early
        )
    return out


def choose_splits(programs: int, capacity: int, device: torch.device) -> int:
    """Return the splits of each head, a power of two, for `programs` heads of all rows."""
    wanted = PROGRAMS_PER_PROCESSOR * _count_processors(device) // programs
    most = min(MAX_SPLITS, max(wanted, 1), triton.cdiv(capacity, BLOCK_COLUMNS))
    return 1 << (int(most).bit_length() - 1)


@cache
def _count_processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)
