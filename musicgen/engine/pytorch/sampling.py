"""Sampling of tokens from logits: guidance, temperature, top-k and top-p, per row.

Tokens are sampled by inverting the cumulative distribution at one uniform number per codebook and
step. Each row has its own generator, and its numbers are drawn before decoding starts. They
therefore do not depend on the batch, the device or the clip's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from musicgen.model.upload import upload
from musicgen.request import SamplingParams


def guide_logits(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Apply classifier-free guidance (Ho and Salimans 2022); `scale` broadcasts over the rows."""
    return unconditional + (conditional - unconditional) * scale


def guide_apart(whole: Tensor, heard: Tensor, scale: Tensor) -> Tensor:
    """Guide towards the text beside a style: `whole` is of both, `heard` of the style alone.

    Followed by `guide_logits` this is double guidance (Rouard et al. 2024, section 4.3).
    """
    return heard + scale * (whole - heard)


@dataclass(frozen=True)
class SamplingTensors:
    """Sampling parameters of all rows, as tensors (rows, 1, 1)."""

    greedy: Tensor
    temperature: Tensor
    top_k: Tensor
    top_p: Tensor

    @classmethod
    def from_params(cls, rows: Sequence[SamplingParams], device: torch.device) -> SamplingTensors:
        """Build the tensors on `device`."""

        def column(values: Sequence[float], dtype: torch.dtype) -> Tensor:
            return upload(values, device, dtype)[:, None, None]

        return cls(
            greedy=column([row.temperature == 0 for row in rows], torch.bool),
            temperature=column([row.temperature or 1.0 for row in rows], torch.float32),
            # top_p takes precedence over top_k, as in audiocraft.
            top_k=column([row.top_k if row.top_p == 0 else 0 for row in rows], torch.int64),
            top_p=column([row.top_p for row in rows], torch.float64),
        )

    @classmethod
    def cat(cls, parts: Sequence[SamplingTensors]) -> SamplingTensors:
        """Concatenate the rows of all parts."""
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


@dataclass(frozen=True)
class SamplerFeatures:
    """Sampling features needed by at least one row. Unneeded features only cost time.

    `random`: some row is not greedy. `largest_k`: maximum top_k of the rows, 0 if unused.
    """

    random: bool
    largest_k: int
    top_p: bool

    @classmethod
    def cat(cls, parts: Sequence[SamplerFeatures]) -> SamplerFeatures:
        """Return the union of the features of all parts."""
        return cls(
            random=any(part.random for part in parts),
            largest_k=max(part.largest_k for part in parts),
            top_p=any(part.top_p for part in parts),
        )

    @classmethod
    def from_params(cls, rows: Sequence[SamplingParams]) -> SamplerFeatures:
        """Return the features needed by `rows`."""
        return cls(
            random=any(row.temperature > 0 for row in rows),
            largest_k=max(row.top_k if row.top_p == 0 else 0 for row in rows),
            top_p=any(row.top_p > 0 for row in rows),
        )


def sample_tokens(
    logits: Tensor, rows: SamplingTensors, features: SamplerFeatures, uniform: Tensor
) -> Tensor:
    """Sample tokens (rows, codebooks) from logits (rows, codebooks, vocabulary).

    `uniform`: one number in [0, 1) per row and codebook.
    """
    greedy = logits.argmax(-1)
    if not features.random:
        return greedy
    scaled = _keep_top_k(logits / rows.temperature, rows.top_k, features.largest_k)
    probabilities = scaled.softmax(-1, dtype=torch.float64)
    if features.top_p:
        probabilities = _keep_top_p(probabilities, rows.top_p)
    sampled = _invert_cumulative(probabilities.cumsum(-1), uniform[..., None])
    return torch.where(rows.greedy[..., 0], greedy, sampled)


def _keep_top_k(logits: Tensor, top_k: Tensor, largest: int) -> Tensor:
    largest = min(largest, logits.shape[-1])
    if largest == 0:
        return logits
    top = logits.topk(largest, dim=-1).values
    rank = (top_k - 1).clamp(0, largest - 1).expand(-1, logits.shape[1], 1)
    is_removed = (logits < top.gather(-1, rank)) & (top_k > 0)
    return logits.masked_fill(is_removed, float("-inf"))


def _keep_top_p(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Keep the likeliest tokens until the ones before a token already reach top_p."""
    ordered = probabilities.sort(-1, descending=True).values
    count = (ordered.cumsum(-1) - ordered <= top_p).sum(-1, keepdim=True)
    smallest = ordered.gather(-1, count - 1)
    is_removed = (probabilities < smallest) & (top_p > 0)
    return probabilities.masked_fill(is_removed, 0.0)


def _invert_cumulative(cumulative: Tensor, draws: Tensor) -> Tensor:
    """Return the first token with a cumulative probability above the draw.

    A token of probability 0 is never returned.
    """
    total = cumulative[..., -1:]
    # A draw just below 1 can round up to the total, and no token exceeds the total.
    target = torch.minimum(draws * total, torch.nextafter(total, torch.zeros_like(total)))
    return (cumulative <= target).sum(-1)
