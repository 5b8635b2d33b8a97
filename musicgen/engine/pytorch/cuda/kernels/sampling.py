"""Guidance, top-k and sampling of one step in one kernel.

PyTorch runs a dozen kernels for them, and sorts to find the k-th largest logit. This kernel orders
floats as integers and finds it bit by bit, with one count of the row for each of 32 bits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from musicgen.engine.pytorch.sampling import SamplingTensors


@triton.jit
def _sample(  # type: ignore[no-untyped-def]
    logits_at, other_at, scale_at, temperature_at, top_k_at, greedy_at, uniform_at,
    token_at, finite_at, books, vocabulary, padded: tl.constexpr,
):  # fmt: skip
    book, row = tl.program_id(0), tl.program_id(1)
    at = tl.arange(0, padded)
    inside = at < vocabulary
    other, scale = tl.load(other_at + row), tl.load(scale_at + row)
    own = tl.load(logits_at + (row * books + book) * vocabulary + at, inside, 0.0)
    far = tl.load(logits_at + (other * books + book) * vocabulary + at, inside, 0.0)
    guided = far + (own - far) * scale
    # A NaN is not below infinity either.
    broken = tl.sum((inside & ~(tl.abs(guided) < float("inf"))).to(tl.int32), 0)
    guided = tl.where(inside, guided, float("-inf"))
    scaled = guided / tl.load(temperature_at + row)
    bits = scaled.to(tl.int32, bitcast=True)
    order = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) + 2147483648
    top_k = tl.load(top_k_at + row)
    threshold, one = tl.zeros([], tl.int64), tl.full([], 1, tl.int64)
    for step in range(32):
        higher = threshold | (one << (31 - step))
        count = tl.sum((inside & (order >= higher)).to(tl.int64), 0)
        threshold = tl.where(count >= tl.minimum(top_k, vocabulary), higher, threshold)
    kept = inside & ((order >= threshold) | (top_k <= 0))
    exact = tl.where(kept, scaled, float("-inf")).to(tl.float64)
    chances = tl.exp(exact - tl.max(exact, 0))
    reached = tl.cumsum(chances, 0)
    total = tl.max(reached, 0)
    draw = tl.load(uniform_at + row * books + book)
    # A draw just below 1 can round up to the total, and no token exceeds the total.
    target = tl.minimum(draw * total, total * (1 - 2.220446049250313e-16))
    last = tl.max(tl.where(kept & (chances > 0), at, 0), 0)
    sampled = tl.min(tl.where(kept & (chances > 0) & (reached > target), at, last), 0)
    is_greedy = tl.load(greedy_at + row).to(tl.int32) != 0
    token = tl.where(is_greedy, tl.argmax(guided, 0), sampled)
    tl.store(token_at + row * books + book, token.to(tl.int64))
    tl.store(finite_at + row * books + book, broken == 0)


def sample_guided(
    logits: Tensor, unconditional: Tensor, scale: Tensor, rows: SamplingTensors, uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute `twins.sample_guided`; all tensors are contiguous."""
    count, books, vocabulary = logits.shape
    tokens = torch.empty(count, books, dtype=torch.int64, device=logits.device)
    finite = torch.empty(count, books, dtype=torch.bool, device=logits.device)
    _sample[(books, count)](
        logits, unconditional, scale, rows.temperature, rows.top_k, rows.greedy, uniform,
        tokens, finite, books, vocabulary, triton.next_power_of_2(vocabulary),
    )  # fmt: skip
    return tokens, finite
