"""Linear layers with weights packed for PyTorch's FBGEMM kernels on CPUs.

A decode step on a CPU is bound by memory bandwidth, so fewer weight bytes save nearly as much time.
Both formats need no compiler.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from musicgen.model.layers import Linear

PackLinear = Callable[[Tensor], nn.Module | None]
"""Pack a weight (out_features, in_features) into a layer; None if it is not representable."""
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_INT8_LARGEST = 127
_SMALLEST_SCALE = 1e-12


class HalfLinear(nn.Module):
    """y = x Wᵀ with float16 weights and float32 activations.

    The weights need half the bytes, while products and sums stay in float32. On x86 without
    bfloat16 instructions this is faster than a bfloat16 product and an order of magnitude more
    exact.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)
        self.multiply = torch.ops.quantized.linear_dynamic_fp16.default

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` (..., in_features)."""
        # Call the kernel directly: dispatch on the type of `packed` takes as long as a small
        # product, and every layer has six products per step.
        return self.multiply.redispatch(_CPU, x, self.packed)


class Int8Linear(nn.Module):
    """y = x Wᵀ with int8 weights (one scale per output) and 8-bit activations (one scale per row).

    FBGEMM scales the activations by the minimum and maximum over all rows, so a row would depend on
    the rest of its batch. Here every row is first divided by its own maximum, and an extra row of 1
    and -1 fixes the kernel's range.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        weight = weight.float()
        scales = (weight.abs().amax(dim=1) / _INT8_LARGEST).clamp(min=_SMALLEST_SCALE)
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            # PyTorch announces a move of its packed kernels; users cannot act on the warning.
            warnings.filterwarnings("ignore", message="torch.quantize_per", category=UserWarning)
            quantized = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
        self.packed = torch.ops.quantized.linear_prepack(quantized, None)
        self.multiply = torch.ops.quantized.linear_dynamic.default
        # Without VNNI two products are added in 16 bits, and 8-bit activations would overflow.
        self.seven_bits = not torch.cpu._is_vnni_supported()
        self.range: Tensor
        self.register_buffer("range", _build_range_row(weight.shape[1]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Quantize and multiply `x` (..., in_features)."""
        rows = x.flatten(0, -2)
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=1, keepdim=True)
        scaled = torch.cat([rows / largest.clamp(min=_SMALLEST_SCALE), self.range])
        # The kernel does not propagate NaN; the product with `largest` restores it.
        scaled.nan_to_num_(0.0)
        product = self.multiply.redispatch(_CPU, scaled, self.packed, self.seven_bits)
        return product[:-1].mul_(largest).view(*x.shape[:-1], -1)


def pack_half_linear(weight: Tensor) -> nn.Module | None:
    """Pack a weight as float16, or return None if a value is out of range."""
    fits = weight.abs().max() < torch.finfo(torch.float16).max
    return HalfLinear(weight) if fits else None


def pack_int8_linear(weight: Tensor) -> nn.Module | None:
    """Pack a weight as int8, or return None for a single input: it cannot hold both range ends."""
    return Int8Linear(weight) if weight.shape[1] > 1 else None


def can_pack() -> bool:
    """Return whether this build of PyTorch has FBGEMM's packed kernels for this CPU."""
    return "fbgemm" in torch.backends.quantized.supported_engines


def pack_half(module: nn.Module) -> None:
    """Pack all weights below `module` as float16."""
    pack_linears(module, pack_half_linear)


def pack_int8(module: nn.Module) -> None:
    """Pack all weights below `module` as int8, with 8-bit activations."""
    pack_linears(module, pack_int8_linear)


def pack_linears(module: nn.Module, pack: PackLinear) -> None:
    """Replace every `Linear` below `module` in place by its packed layer, if `pack` returns one."""
    for name, child in module.named_children():
        if not isinstance(child, Linear):
            pack_linears(child, pack)
        elif (packed := pack(child.weight)) is not None:
            setattr(module, name, packed)


def _build_range_row(inputs: int) -> Tensor:
    row = torch.zeros(1, inputs)
    row[0, :2] = torch.tensor([1.0, -1.0])[:inputs]
    return row
