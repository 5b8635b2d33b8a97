"""From logits to tokens: guidance, temperature, top-k, top-p, each row by its own parameters.

Tokens are sampled by inverting the cumulative distribution at one uniform number per codebook and
step. A row's numbers come from its own generator and are sampled before decoding starts, so what
it draws cannot depend on who shares the batch, on the device, or on how long the clip is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from musicgen.request import SamplingParams


class UniformDraws:
    """Uniform numbers in [0, 1) of rows, each by a generator of its own; they go on from window to
    window of a clip."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self, steps: int, codebooks: int) -> Tensor:
        """The next ones: (rows, steps, codebooks), float64."""
        return torch.stack(
            [
                torch.rand(steps, codebooks, generator=generator, dtype=torch.float64)
                for generator in self._generators
            ]
        )


def guide_logits(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022); `scale` broadcasts over the rows."""
    return unconditional + (conditional - unconditional) * scale


@dataclass(frozen=True)
class SamplingTensors:
    """The parameters of rows, as tensors (rows, 1, 1)."""

    greedy: Tensor
    temperature: Tensor
    top_k: Tensor
    top_p: Tensor

    @classmethod
    def from_params(cls, rows: Sequence[SamplingParams], device: torch.device) -> SamplingTensors:
        def column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
            return torch.tensor(values, device=device, dtype=dtype)[:, None, None]

        return cls(
            greedy=column([row.temperature == 0 for row in rows], torch.bool),
            temperature=column([row.temperature or 1.0 for row in rows], torch.float32),
            # top_p wins over top_k, as in audiocraft.
            top_k=column([row.top_k if row.top_p == 0 else 0 for row in rows], torch.int64),
            top_p=column([row.top_p for row in rows], torch.float64),
        )

    @classmethod
    def cat(cls, parts: Sequence[SamplingTensors]) -> SamplingTensors:
        """The rows of all parts."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class SamplerFeatures:
    """What some rows need of a draw. One that offers more draws the same tokens, more slowly.

    `random`: not all are greedy. `largest_k`: of their top_k, 0 when none has one.
    """

    random: bool
    largest_k: int
    top_p: bool

    @classmethod
    def cat(cls, parts: Sequence[SamplerFeatures]) -> SamplerFeatures:
        """One that offers what any of the parts needs."""
        return cls(
            random=any(part.random for part in parts),
            largest_k=max(part.largest_k for part in parts),
            top_p=any(part.top_p for part in parts),
        )

    @classmethod
    def from_params(cls, rows: Sequence[SamplingParams]) -> SamplerFeatures:
        return cls(
            random=any(row.temperature > 0 for row in rows),
            largest_k=max(row.top_k if row.top_p == 0 else 0 for row in rows),
            top_p=any(row.top_p > 0 for row in rows),
        )


def sample_tokens(
    logits: Tensor, rows: SamplingTensors, kind: SamplerFeatures, uniform: Tensor
) -> Tensor:
    """Tokens (rows, codebooks) from logits (rows, codebooks, vocabulary) and `uniform` numbers
    (rows, codebooks)."""
    greedy = logits.argmax(-1)
    if not kind.random:
        return greedy
    scaled = _keep_top_k(logits / rows.temperature, rows.top_k, kind.largest_k)
    probabilities = scaled.softmax(-1, dtype=torch.float64)
    if kind.top_p:
        probabilities = _keep_top_p(probabilities, rows.top_p)
    sampled = _invert_cumulative(probabilities.cumsum(-1), uniform[..., None])
    return torch.where(rows.greedy[..., 0], greedy, sampled)


def _keep_top_k(logits: Tensor, top_k: Tensor, largest: int) -> Tensor:
    if largest == 0:
        return logits
    top = logits.topk(largest, dim=-1).values
    rank = (top_k - 1).clamp(0, largest - 1).expand(-1, logits.shape[1], 1)
    is_removed = (logits < top.gather(-1, rank)) & (top_k > 0)
    return logits.masked_fill(is_removed, float("-inf"))


def _keep_top_p(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Keeps the likeliest tokens until the ones before a token already reach top_p."""
    ordered = probabilities.sort(-1, descending=True).values
    kept = (ordered.cumsum(-1) - ordered <= top_p).sum(-1, keepdim=True)
    smallest = ordered.gather(-1, kept - 1)
    is_removed = (probabilities < smallest) & (top_p > 0)
    return probabilities.masked_fill(is_removed, 0.0)


def _invert_cumulative(cumulative: Tensor, draws: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds the draw; never one of probability 0."""
    total = cumulative[..., -1:]
    # A draw just below 1 can round up to the total, which no token exceeds.
    target = torch.minimum(draws * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulative <= target).sum(-1)
