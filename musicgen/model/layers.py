"""What the networks share: a linear layer that can change its kernel, and activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    """The function that a config.json means by `name`. Raises: ValueError."""
    if name not in _ACTIVATIONS:
        raise ValueError(f"activation {name!r} is not one of {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


class Uninitialised:
    """Mixed into torch's layers: their weights come from a checkpoint.

    Initialising them on the meta device would be in vain, and makes PyTorch import its compiler.
    """

    def reset_parameters(self) -> None:
        pass


class Affine(Uninitialised, nn.Linear):
    """y = x Wᵀ + b"""


class Embedding(Uninitialised, nn.Embedding):
    pass


class LayerNorm(Uninitialised, nn.LayerNorm):
    pass


class Conv1d(Uninitialised, nn.Conv1d):
    pass


class ConvTranspose1d(Uninitialised, nn.ConvTranspose1d):
    pass


class LSTM(Uninitialised, nn.LSTM):
    pass


class Linear(nn.Module):
    """y = x Wᵀ, weight (out_features, in_features); the reference kernel."""

    weight: Tensor

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of (rows, heads, length, head_dim) queries; `mask` is true where they may look.

    A single query on a processor takes two plain products: they read keys and values faster than
    the fused kernel, which is made for blocks of queries.
    """
    if query.shape[2] > 1 or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(-1) @ value
