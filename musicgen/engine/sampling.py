"""From logits to tokens: guidance, temperature, top-k, top-p, each row by its own parameters.

Tokens are drawn by inverting the cumulative distribution at one uniform number per codebook and
step. A row's numbers come from its own generator and are drawn before decoding starts, so what
it draws cannot depend on who shares the batch, on the device, or on how long the clip is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from musicgen.request import SamplingParams


def uniform_draws(seeds: Sequence[int], steps: int, codebooks: int) -> Tensor:
    """Uniform numbers in [0, 1) for every row: (rows, steps, codebooks), float64."""
    draws = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        draws.append(torch.rand(steps, codebooks, generator=generator, dtype=torch.float64))
    return torch.stack(draws)


def guide(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022); `scale` broadcasts over the rows."""
    return unconditional + (conditional - unconditional) * scale


class Sampler:
    """Draws tokens (rows, codebooks) from logits (rows, codebooks, vocabulary)."""

    def __init__(self, rows: Sequence[SamplingParams], draws: Tensor, device: torch.device) -> None:
        def column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, device=device, dtype=dtype)[:, None, None]

        self._draws = draws.to(device)
        self._greedy = column([row.temperature == 0 for row in rows], torch.bool)
        self._temperature = column([row.temperature or 1.0 for row in rows], torch.float32)
        self._all_greedy = all(row.temperature == 0 for row in rows)
        # top_p wins over top_k, as in audiocraft.
        top_k = [row.top_k if row.top_p == 0 else 0 for row in rows]
        self._top_k = column(top_k, torch.int64)
        self._largest_k = max(top_k)
        self._top_p = column([row.top_p for row in rows], torch.float64)
        self._any_top_p = any(row.top_p > 0 for row in rows)

    def __call__(self, logits: Tensor, step: int) -> Tensor:
        greedy = logits.argmax(-1)
        if self._all_greedy:
            return greedy
        scaled = self._keep_top_k(logits / self._temperature)
        probabilities = self._keep_top_p(scaled.softmax(-1, dtype=torch.float64))
        drawn = _invert(probabilities.cumsum(-1), self._draws[:, step, :, None])
        return torch.where(self._greedy[..., 0], greedy, drawn)

    def _keep_top_k(self, logits: Tensor) -> Tensor:
        if self._largest_k == 0:
            return logits
        top = logits.topk(self._largest_k, dim=-1).values
        rank = (self._top_k - 1).clamp(min=0).expand(-1, logits.shape[1], 1)
        removed = (logits < top.gather(-1, rank)) & (self._top_k > 0)
        return logits.masked_fill(removed, float("-inf"))

    def _keep_top_p(self, probabilities: Tensor) -> Tensor:
        """Keeps the likeliest tokens until the ones before a token already reach top_p."""
        if not self._any_top_p:
            return probabilities
        ordered = probabilities.sort(-1, descending=True).values
        kept = (ordered.cumsum(-1) - ordered <= self._top_p).sum(-1, keepdim=True)
        smallest = ordered.gather(-1, kept - 1)
        removed = (probabilities < smallest) & (self._top_p > 0)
        return probabilities.masked_fill(removed, 0.0)


def _invert(cumulative: Tensor, draws: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds the draw; never one of probability 0."""
    total = cumulative[..., -1:]
    # A draw just below 1 can round up to the total, which no token exceeds.
    target = torch.minimum(draws * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulative <= target).sum(-1)
