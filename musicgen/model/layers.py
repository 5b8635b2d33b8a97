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


_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)


def activation(name: str) -> Activation:
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


class PackedHalfLinear(nn.Module):
    """y = x Wᵀ with float16 weights and float32 activations, packed for FBGEMM.

    A decode step on a CPU waits for memory, so half the bytes is nearly half the time, while
    products and sums stay in float32. On x86 without bfloat16 instructions this is both faster
    than a bfloat16 product and an order of magnitude more exact.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)
        self.multiply = torch.ops.quantized.linear_dynamic_fp16.default

    def forward(self, x: Tensor) -> Tensor:
        # Straight to the kernel: finding it by the type of `packed` takes as long as a small one
        # runs, and there are six for every layer and step.
        return self.multiply.redispatch(_CPU, x, self.packed)


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


def can_pack_half() -> bool:
    """Whether this build of PyTorch has FBGEMM's packed kernels for this processor."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def pack_linears(module: nn.Module) -> None:
    """Replaces every `Linear` below `module` by a `PackedHalfLinear`, in place.

    A weight that float16 cannot hold stays as it is, in float32.
    """
    largest = torch.finfo(torch.float16).max
    for name, child in module.named_children():
        if not isinstance(child, Linear):
            pack_linears(child)
        elif child.weight.abs().max() < largest:
            setattr(module, name, PackedHalfLinear(child.weight))
