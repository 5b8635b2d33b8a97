"""Store the sampled tokens of a step and embed them, in one kernel.

PyTorch runs two dozen small kernels for it, a tenth of a small model's step.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.twins import ColumnState
from musicgen.model.delay_pattern import UNKNOWN

BLOCK = 512


@triton.jit
def _place(  # type: ignore[no-untyped-def]
    token_at, sampled_finite_at, active_at, source_at, column_at, length_at, padding_at,
    sequence_at, finite_at, embeddings_at, positions_at, x_at, first_at, end_at, rows, capacity,
    limit, vocabulary, size, unknown: tl.constexpr, books: tl.constexpr, padded: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    row, part = tl.program_id(0), tl.program_id(1)
    book = tl.arange(0, padded)
    is_book = book < books
    source = tl.minimum(tl.load(source_at + row), rows - 1)
    # The source's own program may have stored its column already: then it is known, and the same.
    own = (source * books + book) * capacity + tl.minimum(tl.load(column_at + source), capacity - 1)
    known = tl.load(sequence_at + own, is_book, 0)
    sampled = tl.load(token_at + source * books + book, is_book, 0)
    tokens = tl.where(known == unknown, sampled, known)
    dims = part * block + tl.arange(0, block)
    is_dim = dims < size
    offsets = (book * (vocabulary + 1) + tokens)[:, None] * size + dims[None, :]
    vectors = tl.load(embeddings_at + offsets, is_book[:, None] & is_dim[None, :], 0.0)
    x = tl.sum(vectors.to(tl.float32), 0).to(x_at.dtype.element_ty).to(tl.float32)
    length, padding = tl.load(length_at + row), tl.load(padding_at + row)
    position = tl.minimum(tl.maximum(length - padding, 0), capacity - 1)
    x += tl.load(positions_at + position * size + dims, is_dim, 0.0).to(tl.float32)
    tl.store(x_at + row * size + dims, x.to(x_at.dtype.element_ty), is_dim)
    if part == 0:
        active = tl.load(active_at + row).to(tl.int32) != 0
        own = (row * books + book) * capacity + tl.minimum(tl.load(column_at + row), capacity - 1)
        known = tl.load(sequence_at + own, is_book, 0)
        sampled = tl.load(token_at + row * books + book, is_book, 0)
        tl.store(sequence_at + own, sampled, is_book & active & (known == unknown))
        finite = tl.load(sampled_finite_at + row * books + book, is_book, 1).to(tl.int32)
        before = tl.load(finite_at + row).to(tl.int32)
        tl.store(finite_at + row, (before != 0) & ((tl.min(finite, 0) != 0) | (active == 0)))
        last = tl.minimum(length, limit - 1)
        # A row attends to itself even in its padding, because no softmax may be empty.
        tl.store(first_at + row, tl.minimum(padding, last))
        tl.store(end_at + row, last + 1)


def place_column(
    state: ColumnState, tokens: Tensor, finite: Tensor, limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute `twins.place_column`; all tensors are contiguous."""
    rows, (books, capacity) = len(tokens), state.sequence.shape[1:]
    size, device = state.embeddings.shape[1], tokens.device
    x = torch.empty(rows, size, dtype=state.embeddings.dtype, device=device)
    first, end = (torch.empty(rows, dtype=torch.int64, device=device) for _ in range(2))
    vocabulary = len(state.embeddings) // books - 1
    _place[(rows, triton.cdiv(size, BLOCK))](
        tokens, finite, state.active, state.source, state.column, state.length, state.padding,
        state.sequence, state.finite, state.embeddings, state.positions, x, first, end, rows,
        capacity, limit, vocabulary, size, UNKNOWN, books, triton.next_power_of_2(books), BLOCK,
    )  # fmt: skip
    return x, first, end
