"""Layers shared by the networks, activation functions, and attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.errors import UnsupportedCheckpoint

Activation = Callable[[Tensor], Tensor]

_ACTIVATIONS: dict[str, Activation] = {
    "gelu": F.gelu,
    "gelu_new": partial(F.gelu, approximate="tanh"),
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}


def get_activation(name: str) -> Activation:
    """Return the activation function for its name in config.json.

    Raises: `UnsupportedCheckpoint`.
    """
    if name not in _ACTIVATIONS:
        raise UnsupportedCheckpoint(
            f"The activation must be one of {', '.join(_ACTIVATIONS)} (was {name!r})."
        )
    return _ACTIVATIONS[name]


class Uninitialised:
    """Mixin for torch layers that skips initialisation, because weights come from a checkpoint.

    On the meta device, initialisation would be useless and would make PyTorch import its compiler.
    """

    def reset_parameters(self) -> None:
        """Do nothing."""


class Affine(Uninitialised, nn.Linear):
    """y = x Wᵀ + b."""


class Embedding(Uninitialised, nn.Embedding):
    """Embedding without initialisation."""


class LayerNorm(Uninitialised, nn.LayerNorm):
    """Layer normalization without initialisation."""


class Conv1d(Uninitialised, nn.Conv1d):
    """Convolution without initialisation."""


class ConvTranspose1d(Uninitialised, nn.ConvTranspose1d):
    """Transposed convolution without initialisation."""


class LSTM(Uninitialised, nn.LSTM):
    """LSTM without initialisation."""


class Linear(nn.Module):
    """y = x Wᵀ, weight (out_features, in_features); the reference kernel."""

    weight: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` (..., in_features)."""
        return F.linear(x, self.weight)


def build_additive_mask(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 0 where `allowed` is true and minus infinity elsewhere."""
    zeros = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return zeros.masked_fill(~allowed, float("-inf"))


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Compute attention of queries (rows, heads, length, head_dim).

    `mask` is true where attention is allowed, or is added to the scores and has the queries' type.
    A GPU converts the former into the latter at each call, so a step of many layers passes sums.

    A single query on a CPU uses two plain products. They read keys and values faster than the fused
    kernel, designed for blocks of queries.
    """
    if query.shape[2] > 1 or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, float("-inf"))
    elif mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ value
