"""ctypes bindings of the compiled step.

The structures mirror those of linear.h and step.cpp; step.cpp documents their fields.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from ctypes import POINTER, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor, nn

from musicgen.model.native.forms import PackedWeight, allocate, pack_weight
from musicgen.model.native.step_file import VNNI, find_step_file, has_native_step

BFLOAT16_CACHE, FLOAT32_CACHE = 0, 1


class LinearFields(ctypes.Structure):
    """The struct `Linear` of linear.h."""

    _fields_ = [
        *((name, c_int32) for name in ("outputs", "inputs", "form", "unused")),
        *((name, c_void_p) for name in ("weights", "scales", "sums")),
    ]


class NativeLayer(ctypes.Structure):
    """The struct of one layer."""

    _fields_ = [
        (name, c_void_p)
        for name in (
            "self_norm_weight",
            "self_norm_bias",
            "qkv",
            "self_out",
            "cross_norm_weight",
            "cross_norm_bias",
            "cross_query",
            "cross_out",
            "ffn_norm_weight",
            "ffn_norm_bias",
            "up",
            "down",
        )
    ]


class NativeDecoder(ctypes.Structure):
    """The struct of the whole decoder."""

    _fields_ = [
        *((name, c_int32) for name in ("layers", "hidden", "heads", "ffn", "activation", "cache")),
        ("layer", POINTER(NativeLayer)),
        ("norm_weight", c_void_p),
        ("norm_bias", c_void_p),
    ]


class NativeRow(ctypes.Structure):
    """The struct of one row of a batch."""

    _fields_ = [
        ("keys", c_void_p),
        ("values", c_void_p),
        ("layer_stride", c_int64),
        ("head_stride", c_int64),
        ("position", c_int32),
        ("first", c_int32),
        ("cross_keys", c_void_p),
        ("cross_values", c_void_p),
        ("cross_layer_stride", c_int64),
        ("cross_head_stride", c_int64),
        ("cross_length", c_int32),
        ("unused", c_int32),
    ]


_SIGNATURES: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "native_level": (c_int, ()),
    "native_limit": (c_int, (c_int,)),
    "native_pool": (c_void_p, (c_int,)),
    "native_free_pool": (None, (c_void_p,)),
    "native_multiply": (None, (c_void_p, c_void_p, c_void_p, c_int, c_void_p)),
    "native_attend": (None, (*[c_void_p] * 3, *[c_int] * 3, *[c_void_p] * 2)),
    "native_step": (None, (c_void_p, c_void_p, c_void_p, c_int, c_void_p)),
}


class Library:
    """The native functions and their thread pool."""

    def __init__(self, path: Path, max_level: int = VNNI) -> None:
        self.functions = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(self.functions, name)
            function.restype, function.argtypes = result, arguments
        self.level: int = self.functions.native_limit(max_level)

    @functools.cached_property
    def pool(self) -> int:
        """Address of the thread pool, with PyTorch's number of threads at first use."""
        pool: int = self.functions.native_pool(torch.get_num_threads())
        weakref.finalize(self, self.functions.native_free_pool, pool)
        return pool


@functools.cache
def load_library() -> Library | None:
    """Return the compiled library, or None if it was not compiled or the CPU lacks AVX2."""
    path = find_step_file()
    return Library(path) if path is not None and has_native_step() else None


class NativeLinear(nn.Module):
    """y = x Wᵀ with packed weights; x and y are float32.

    The format is int8 (activations too, with one scale per row), float16 or float32. The buffers
    are those of `forms.PackedWeight` and may be replaced until first use.
    """

    weight: Tensor
    scales: Tensor | None
    sums: Tensor | None

    def __init__(
        self, library: Library, shape: tuple[int, int], form: int, packed: PackedWeight
    ) -> None:
        super().__init__()
        self.outputs, self.inputs = shape
        self.library, self.form = library, form
        for name, tensor in packed._asdict().items():
            self.register_buffer(name, tensor)

    @classmethod
    def pack(cls, library: Library, weight: Tensor, form: int) -> NativeLinear:
        """Pack a weight (outputs, inputs)."""
        outputs, inputs = weight.shape
        return cls(library, (outputs, inputs), form, pack_weight(weight, form))

    @classmethod
    def allocate(cls, library: Library, weight: Tensor, form: int) -> NativeLinear:
        """Allocate the layer for a weight (outputs, inputs), without values."""
        outputs, inputs = weight.shape
        return cls(library, (outputs, inputs), form, allocate(outputs, inputs, form))

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
        self.library.functions.native_multiply(
            self.library.pool, self.address, rows.data_ptr(), len(rows), out.data_ptr()
        )
        return out.view(*x.shape[:-1], self.outputs)
