"""What the Triton kernels compute, in plain PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.weights import StepProduct
from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_logits,
    sample_tokens,
)
from musicgen.model.delay_pattern import UNKNOWN
from musicgen.model.layers import get_activation

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, or the factors of both in an int8 cache."""
LARGEST_INT8 = 127
SMALLEST_MAXIMUM = 1e-12
"""Replaces smaller largest numbers of a vector, because zeros must not be divided by zero."""


@dataclass(frozen=True)
class ColumnState:
    """Tensors of all slots, of which a step uses the first rows.

    `active`, `source`, `column`, `length`, `padding`, `finite`: (slots,), see `RowSlots`.
    `sequence`: (slots, codebooks, capacity). `embeddings`: (codebooks * (vocabulary + 1), hidden).
    `positions`: (capacity, hidden).
    """

    active: Tensor
    source: Tensor
    column: Tensor
    length: Tensor
    padding: Tensor
    sequence: Tensor
    finite: Tensor
    embeddings: Tensor
    positions: Tensor


def multiply(x: Tensor, product: StepProduct, added: Tensor | None = None) -> Tensor:
    """Compute `product` of `x` (rows, inputs), plus `added` (rows, outputs).

    Returns: (rows, outputs) in the product's type. All sums are in float32.
    """
    exact, weight = x.float(), product.weight.float()
    if product.gain is not None and product.bias is not None:
        norm = product.gain.float(), product.bias.float()
        exact = F.layer_norm(exact, x.shape[-1:], *norm, eps=product.epsilon)
    if product.scale is not None:
        weight = weight * product.scale[:, None]
    result = exact @ weight.t()
    if product.activation:
        result = get_activation(product.activation)(result)
    if added is not None:
        result = result + added.float()
    return result.to(product.out_dtype)


def quantize_vectors(x: Tensor) -> KeysValues:
    """Round each vector of `x` (..., size) to int8 times a factor.

    A vector with a NaN or an infinity gets NaN as its factor, so it stays not finite where it is
    read. Returns: int8 of the shape of `x`, and float32 factors (...,).
    """
    exact = x.float()
    largest = exact.abs().amax(-1)
    factors = largest.clamp(min=SMALLEST_MAXIMUM) * (1 / LARGEST_INT8)
    # Not `round`: Triton has none, and stored numbers are compared for equality.
    numbers = torch.floor(exact / factors[..., None] + 0.5)
    # A NaN is not below infinity either.
    is_finite = largest < float("inf")
    numbers = torch.where(is_finite[..., None], numbers, 0.0)
    return numbers.to(torch.int8), torch.where(is_finite, factors, float("nan"))


def attend_live(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor,
    end: Tensor,
    factors: KeysValues | None = None,
) -> Tensor:
    """Attend from one query per row to the columns `first` to `end` - 1 of its cache.

    `query`: (rows, heads, head_dim). `keys`, `values`: (rows, heads, capacity, head_dim), of the
    type of `query`, or int8 with `factors`, two of float32 (rows, heads, capacity). `first`, `end`:
    (rows,) int64. Returns: the shape and type of `query`.
    """
    columns = torch.arange(keys.shape[2], device=keys.device)
    allowed = (columns >= first[:, None]) & (columns < end[:, None])
    scores = torch.einsum("rhd,rhcd->rhc", query.float(), keys.float()) * query.shape[-1] ** -0.5
    if factors is not None:
        scores = scores * factors[0]
    weights = scores.masked_fill(~allowed[:, None], float("-inf")).softmax(-1)
    if factors is not None:
        weights = weights * factors[1]
    return torch.einsum("rhc,rhcd->rhd", weights, values.float()).to(query.dtype)


def append_attend(
    joined: Tensor,
    keys: Tensor,
    values: Tensor,
    first: Tensor,
    end: Tensor,
    factors: KeysValues | None = None,
) -> Tensor:
    """Store a key and a value of each row at column `end` - 1 of its cache, and `attend_live`.

    `joined`: (rows, 3 * heads * head_dim), the queries, keys and values of one step. With `factors`
    the new key and value are rounded before they are stored and read.
    """
    rows = torch.arange(len(joined), device=joined.device)
    query, key, value = joined.view(len(joined), 3, keys.shape[1], keys.shape[3]).unbind(1)
    if factors is not None:
        (key, key_factor), (value, value_factor) = quantize_vectors(key), quantize_vectors(value)
        factors[0][rows, :, end - 1], factors[1][rows, :, end - 1] = key_factor, value_factor
    keys[rows, :, end - 1], values[rows, :, end - 1] = key, value
    return attend_live(query, keys, values, first, end, factors)


def sample_guided(
    logits: Tensor, unconditional: Tensor, scale: Tensor, rows: SamplingTensors, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Guide the logits (rows, codebooks, vocabulary) and sample a token of each row and codebook.

    `unconditional`: (rows,) the rows to guide away from, with `scale` (rows, 1, 1). `rows`: without
    top_p. `uniform`: float64 numbers (rows, codebooks). Returns: tokens (rows, codebooks), and
    whether all guided logits were finite, of the same shape.
    """
    guided = guide_logits(logits, logits[unconditional], scale)
    features = SamplerFeatures(random=True, largest_k=logits.shape[-1], top_p=False)
    return sample_tokens(guided, rows, features, uniform), guided.isfinite().all(-1)


def place_column(
    state: ColumnState, tokens: Tensor, finite: Tensor, limit: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Store the next tokens of active rows where the sequence has none yet, and embed the column.

    `tokens`, `finite`: (rows, codebooks), as from `sample_guided`. `limit`: columns of the cache.
    Returns: `x` (rows, hidden) with positions, and the first column and the end (rows,) of each
    row's past with the new step.
    """
    rows, (books, capacity) = len(tokens), state.sequence.shape[1:]
    active, length, padding = (t[:rows] for t in (state.active, state.length, state.padding))
    state.finite[:rows] &= finite.all(1) | ~active
    index = state.column[:rows].clamp(max=capacity - 1)[:, None, None].expand(-1, books, 1)
    known = state.sequence[:rows].gather(2, index)[..., 0]
    column = torch.where(known == UNKNOWN, tokens, known)
    updated = torch.where(active[:, None], column, known)
    state.sequence[:rows].scatter_(2, index, updated[..., None])
    column = column[state.source[:rows].clamp(max=rows - 1)]
    words = len(state.embeddings) // books
    numbers = column + torch.arange(0, words * books, words, device=column.device)
    x = F.embedding(numbers, state.embeddings).sum(1)
    x = x + state.positions[(length - padding).clamp(0, capacity - 1)]
    last = length.clamp(max=limit - 1)
    return x, torch.minimum(padding, last), last + 1
