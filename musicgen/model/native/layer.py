"""A product with packed weights as a layer of PyTorch."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from musicgen.model.native.forms import PackedWeight, pack_weight
from musicgen.model.native.library import Library, LinearFields, check_status


class NativeLinear(nn.Module):
    """y = x Wᵀ with packed weights; x and y are float32.

    The format is int8 or int4 (activations in int8, with one scale per row), float16 or float32.
    The buffers are those of `forms.PackedWeight`.
    """

    weight: Tensor
    scales: Tensor | None
    sums: Tensor | None

    def __init__(
        self, library: Library, shape: tuple[int, int], form: int, buffers: Mapping[str, Tensor]
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = shape
        self.library, self.form = library, form
        for name in PackedWeight._fields:
            self.register_buffer(name, buffers.get(name))

    @classmethod
    def pack(cls, library: Library, weight: Tensor, form: int) -> NativeLinear:
        """Pack a weight (outputs, inputs)."""
        outputs, inputs = weight.shape
        packed = pack_weight(weight.detach().float().numpy(), form)._asdict()
        buffers = {name: torch.from_numpy(a) for name, a in packed.items() if a is not None}
        return cls(library, (outputs, inputs), form, buffers)

    @functools.cached_property
    def _fields(self) -> LinearFields:
        buffers = (self.weight, self.scales, self.sums)
        pointers = (0 if tensor is None else tensor.data_ptr() for tensor in buffers)
        return LinearFields(self.outputs, self.inputs, self.form, 0, *pointers)

    @property
    def address(self) -> int:
        """Address of the native struct, valid for the lifetime of this layer."""
        return ctypes.addressof(self._fields)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply `x` (..., inputs)."""
        rows = x.reshape(-1, self.inputs).contiguous()
        out = torch.empty(len(rows), self.outputs)
        status = self.library.functions.native_multiply(
            self.library.pool, self.address, rows.data_ptr(), len(rows), out.data_ptr()
        )
        check_status(status, "a product")
        return out.view(*x.shape[:-1], self.outputs)
