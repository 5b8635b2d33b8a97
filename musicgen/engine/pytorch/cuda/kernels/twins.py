"""What the Triton kernels compute, in plain PyTorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_logits,
    sample_tokens,
)


def quantize_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row of `weight` (outputs, inputs) to 8-bit integers times a scale.

    Returns: int8 of the same shape, and float32 scales (outputs,).
    """
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / 127
    return torch.round(weight.float() / scale[:, None]).to(torch.int8), scale


def normalize_multiply(
    x: Tensor, gain: Tensor, bias: Tensor, weight: Tensor, scale: Tensor
) -> Tensor:
    """Normalise `x` (rows, inputs) as LayerNorm does, and multiply by 8-bit weights.

    `gain`, `bias`: (inputs,) of the norm. `weight`: int8 (outputs, inputs) with `scale` (outputs,).
    Returns: (rows, outputs) in the type of `x`.
    """
    normal = F.layer_norm(x.float(), x.shape[-1:], gain.float(), bias.float())
    return (normal @ weight.float().t() * scale).to(x.dtype)


def attend_live(query: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """Attend from one query per row to the columns `first` to `end` - 1 of its cache.

    `query`: (rows, heads, head_dim). `keys`, `values`: (rows, heads, capacity, head_dim). `first`,
    `end`: (rows,) int64. Returns: the shape and type of `query`.
    """
    columns = torch.arange(keys.shape[2], device=keys.device)
    allowed = (columns >= first[:, None]) & (columns < end[:, None])
    scores = torch.einsum("rhd,rhcd->rhc", query.float(), keys.float()) * query.shape[-1] ** -0.5
    scores = scores.masked_fill(~allowed[:, None], float("-inf"))
    return torch.einsum("rhc,rhcd->rhd", scores.softmax(-1), values.float()).to(query.dtype)


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
