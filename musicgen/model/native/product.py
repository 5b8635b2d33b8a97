"""A product with weights of a model as one object. Imports no torch."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.errors import CheckpointMismatch
from musicgen.model.native.forms import FLOAT16, FLOAT32, INT4, INT8, describe_parts, pack_weight
from musicgen.model.native.library import Library, LinearFields, check_status

Array = NDArray[Any]
Floats = NDArray[np.float32]
Arrays = Mapping[str, Array]
"""Weights of a model by the names of a packed file."""
_FIELDS = {"weight": "weights", "scales": "scales", "sums": "sums"}
_CACHE_LINE = 64
_FORMS = {"uint8": INT4, "int8": INT8, "float16": FLOAT16, "float32": FLOAT32}


class NativeProduct:
    """y = x Wᵀ + b, in float32; the bias is optional.

    The weight `name`.weight is packed (see `forms`) or plain float32 (outputs, inputs). A plain one
    is packed into a copy.

    Raises: `CheckpointMismatch` if it has another shape.
    """

    def __init__(
        self, library: Library, arrays: Arrays, name: str, outputs: int, inputs: int
    ) -> None:
        self._library = library
        self.name, self.outputs, self.inputs = name, outputs, inputs
        weight = take_array(arrays, f"{name}.weight")
        if weight.ndim == 2:
            check_array(f"{name}.weight", weight, np.dtype(np.float32), (outputs, inputs))
            parts: dict[str, Array] = {"weight": pack_weight(weight, FLOAT32).weight}
            self.form = FLOAT32
        else:
            self.form = _FORMS.get(weight.dtype.name, FLOAT32)
            parts = {}
            for part, described in describe_parts(outputs, inputs, self.form).items():
                parts[part] = take_array(arrays, f"{name}.{part}")
                check_array(f"{name}.{part}", parts[part], described.dtype, described.shape)
        self._parts = {part: np.ascontiguousarray(array) for part, array in parts.items()}
        self._former: list[dict[str, Array]] = []
        bias = f"{name}.bias"
        self._bias = take_vector(arrays, bias, outputs) if bias in arrays else None
        pointers = {_FIELDS[part]: array.ctypes.data for part, array in self._parts.items()}
        self.fields = LinearFields(outputs, inputs, self.form, 0, **pointers)
        """The native struct, valid for the lifetime of this object."""

    @property
    def address(self) -> int:
        """Address of the native struct."""
        return ctypes.addressof(self.fields)

    @property
    def bytes(self) -> int:
        """Memory for `move`: of the parts, each from a new cache line."""
        return sum(_round_up(array.nbytes) for array in self._parts.values())

    def move(self, memory: NDArray[np.uint8]) -> None:
        """Move the weights to `memory`, of `bytes` bytes, also while a product is underway.

        That product may still read the former weights, so they live as long as this object.
        """
        moved, at = {}, 0
        for part, array in self._parts.items():
            moved[part] = memory[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
            moved[part][...] = array
            at += _round_up(array.nbytes)
        self._former.append(self._parts)
        self._parts = moved
        for part, array in moved.items():
            place = self.address + getattr(LinearFields, _FIELDS[part]).offset
            self._library.functions.native_publish(place, array.ctypes.data)

    def __call__(self, x: Floats) -> Floats:
        """Multiply `x` (..., inputs)."""
        rows = np.ascontiguousarray(x, np.float32).reshape(-1, self.inputs)
        out = np.empty((len(rows), self.outputs), np.float32)
        status = self._library.functions.native_multiply(
            self._library.pool, self.address, rows.ctypes.data, len(rows), out.ctypes.data
        )
        check_status(status, "a product")
        if self._bias is not None:
            out += self._bias
        return out.reshape(*x.shape[:-1], self.outputs)


def _round_up(size: int) -> int:
    return -(-size // _CACHE_LINE) * _CACHE_LINE


def take_vector(arrays: Arrays, name: str, size: int) -> Floats:
    """Return a float32 vector of the model. Raises: `CheckpointMismatch`."""
    return take_matrix(arrays, name, (size,))


def take_matrix(arrays: Arrays, name: str, shape: tuple[int, ...]) -> Floats:
    """Return a contiguous float32 array of the model. Raises: `CheckpointMismatch`."""
    array = take_array(arrays, name)
    check_array(name, array, np.dtype(np.float32), shape)
    return np.ascontiguousarray(array)


def take_array(arrays: Arrays, name: str) -> Array:
    """Return an array of the model. Raises: `CheckpointMismatch` if there is none."""
    try:
        return arrays[name]
    except KeyError:
        raise CheckpointMismatch(f"The weight {name} is missing: pack the model again.") from None


def check_array(name: str, array: Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Check the type and the shape of a weight. Raises: `CheckpointMismatch`."""
    if array.dtype != dtype or array.shape != shape:
        raise CheckpointMismatch(
            f"{name} must be {dtype} {shape} (was {array.dtype} {array.shape}): "
            f"pack the model again."
        )
