"""Linear layers whose weights are packed for a processor's own kernels.

A decode step on a CPU waits for the weights, so fewer bytes are nearly as much less time. Both
forms go through PyTorch's FBGEMM kernels and need no compiler.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from musicgen.model.layers import Linear

PackLinear = Callable[[Tensor], nn.Module | None]
"""Weight (out_features, in_features) to its packed layer, or None if the form cannot hold it."""
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_INT8_LARGEST = 127
_SMALLEST_SCALE = 1e-12


class HalfLinear(nn.Module):
    """y = x Wᵀ with float16 weights and float32 activations.

    Half the bytes, while products and sums stay in float32. On x86 without bfloat16 instructions
    this is both faster than a bfloat16 product and an order of magnitude more exact.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)
        self.multiply = torch.ops.quantized.linear_dynamic_fp16.default

    def forward(self, x: Tensor) -> Tensor:
        # Straight to the kernel: finding it by the type of `packed` takes as long as a small one
        # runs, and there are six for every layer and step.
        return self.multiply.redispatch(_CPU, x, self.packed)


class Int8Linear(nn.Module):
    """y = x Wᵀ with int8 weights, one scale for each output, and 8-bit activations, one scale for
    each row and step.

    FBGEMM chooses the scale of the activations from the smallest and largest value of all rows,
    so a row would depend on who shares its batch. Here every row is divided by its own largest
    value first, and a last row of 1 and -1 holds the kernel to the range that this leaves.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        weight = weight.float()
        scales = (weight.abs().amax(dim=1) / _INT8_LARGEST).clamp(min=_SMALLEST_SCALE)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            # PyTorch means to move its packed kernels elsewhere; nobody who reads it can act.
            warnings.filterwarnings("ignore", message="torch.quantize_per", category=UserWarning)
            quantized = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.multiply = torch.ops.quantized.linear_dynamic.default
        # Without VNNI two products are added in 16 bits, which 8-bit activations overflow.
        self.seven_bits = not torch.cpu._is_vnni_supported()
        self.range: Tensor
        self.register_buffer("range", _build_range_row(weight.shape[1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
        scaled = torch.cat([rows / largest.clamp(min=_SMALLEST_SCALE), self.range])
        # The kernel knows no NaN; the product with `largest` brings it back.
        scaled.nan_to_num_(0.0)
        product = self.multiply.redispatch(_CPU, scaled, self.packed, self.seven_bits)
        return product[:-1].mul_(largest).view(*x.shape[:-1], -1)


def pack_half_linear(weight: Tensor) -> nn.Module | None:
    """float16, unless a weight is out of its range."""
    fits = weight.abs().max() < torch.finfo(torch.float16).max
    return HalfLinear(weight) if fits else None


def pack_int8_linear(weight: Tensor) -> nn.Module | None:
    """int8; a single input leaves no room for both ends of the range."""
    return Int8Linear(weight) if weight.shape[1] > 1 else None


def can_pack() -> bool:
    """Whether this build of PyTorch has FBGEMM's packed kernels for this processor."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def pack_half(module: nn.Module) -> None:
    """16-bit weights below `module`."""
    pack_linears(module, pack_half_linear)


def pack_int8(module: nn.Module) -> None:
    """8-bit weights and activations below `module`."""
    pack_linears(module, pack_int8_linear)


def pack_linears(module: nn.Module, pack: PackLinear) -> None:
    """Replaces every `Linear` below `module` by its packed layer, in place, where there is one."""
    for name, child in module.named_children():
        if not isinstance(child, Linear):
            pack_linears(child, pack)
        elif (packed := pack(child.weight)) is not None:
            setattr(module, name, packed)


def _build_range_row(inputs: int) -> Tensor:
    row = torch.zeros(1, inputs)
    row[0, :2] = torch.tensor([1.0, -1.0])[:inputs]
    return row
