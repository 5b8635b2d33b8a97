"""ctypes bindings of the native codec. Imports no torch.

The structures mirror those of codec_products.h and codec_layers.h, which document their fields.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_int, c_int32, c_void_p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.errors import CheckpointMismatch
from musicgen.model.native.codec_forms import FLOAT32, INT16
from musicgen.model.native.codec_plan import WIDTH, LayerPlan, Product
from musicgen.model.native.library import Library, check_status
from musicgen.model.native.step_file import Signatures, declare_functions

Array = NDArray[Any]


class NativeConv(ctypes.Structure):
    """The struct of one product."""

    _fields_ = [
        *((name, c_void_p) for name in ("weights", "scales", "bias")),
        *((name, c_int32) for name in ("form", "outputs", "inputs", "taps", "dilation", "stride")),
        *((name, c_int32) for name in ("fold", "left", "right", "padding")),
    ]


class NativeCodecLayer(ctypes.Structure):
    """The struct of one layer."""

    _fields_ = [
        *((name, c_int32) for name in ("kind", "has_elu", "count", "unused")),
        ("products", POINTER(NativeConv)),
    ]


_SIGNATURES: Signatures = {
    "native_open_codec": (c_int, (c_void_p, c_int, POINTER(c_void_p))),
    "native_close_codec": (None, (c_void_p,)),
    "native_push_codec": (c_int, (*[c_void_p] * 3, *[c_int] * 2, POINTER(c_int))),
    "native_read_codec": (None, (c_void_p, c_void_p)),
}


class ChainFields:
    """The structs of a chain of layers, and the arrays they point to."""

    def __init__(
        self, library: Library, plan: Sequence[LayerPlan], arrays: Mapping[str, Array], padding: int
    ) -> None:
        declare_functions(library.functions, _SIGNATURES)
        self.library = library
        self._kept: list[Any] = []
        layers = [self._describe_layer(layer, arrays, padding) for layer in plan]
        self.layers = (NativeCodecLayer * len(layers))(*layers)

    def _describe_layer(
        self, layer: LayerPlan, arrays: Mapping[str, Array], padding: int
    ) -> NativeCodecLayer:
        products = [self._describe_product(p, arrays, padding) for p in layer.products]
        fields = (NativeConv * len(products))(*products)
        self._kept.append(fields)
        return NativeCodecLayer(
            kind=layer.kind, has_elu=layer.has_elu, count=len(products), products=fields
        )

    def _describe_product(
        self, product: Product, arrays: Mapping[str, Array], padding: int
    ) -> NativeConv:
        weight = arrays.get(product.weight)
        form = FLOAT32 if weight is None or weight.dtype == np.float32 else INT16
        blocks, taps, inputs = product.blocks, product.taps, product.inputs
        shape = (
            (blocks, taps, inputs, WIDTH)
            if form == FLOAT32
            else (blocks, taps, -(-inputs // 2), WIDTH, 2)
        )
        padded, dtype = (blocks * WIDTH,), np.float32 if form == FLOAT32 else np.int16
        return NativeConv(
            weights=self._find(product.weight, arrays, shape, dtype),
            scales=self._find(product.scales, arrays, padded) if form == INT16 else None,
            bias=self._find(product.bias, arrays, padded),
            form=form,
            outputs=product.outputs,
            inputs=inputs,
            taps=taps,
            dilation=product.dilation,
            stride=product.stride,
            fold=product.fold,
            left=product.left,
            right=product.right,
            padding=padding,
        )

    def _find(
        self,
        name: str,
        arrays: Mapping[str, Array],
        shape: tuple[int, ...],
        dtype: type = np.float32,
    ) -> int:
        """Return the address of an array. Raises: `CheckpointMismatch`."""
        array = arrays.get(name)
        if array is None or array.shape != shape or array.dtype != dtype:
            stored = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise CheckpointMismatch(
                f"{name} must be {np.dtype(dtype)} {shape} (was {stored}): pack the checkpoint "
                "again with this version."
            )
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return int(array.ctypes.data)


class Chain:
    """State of one clip in a chain of layers."""

    def __init__(self, fields: ChainFields, channels: int) -> None:
        self._fields = fields  # the chain points to them
        self._library = fields.library
        self._channels = channels
        address = c_void_p()
        status = self._library.functions.native_open_codec(
            fields.layers, len(fields.layers), address
        )
        check_status(status, "the codec")
        self._address = address.value

    def push(self, rows: Array, last: bool) -> Array:
        """Return the outputs (rows, channels) that no later row can change, with `last` all.

        Raises: `MemoryError`; the chain can then take no more rows.
        """
        rows = np.ascontiguousarray(rows, np.float32)
        functions, count = self._library.functions, c_int()
        status = functions.native_push_codec(
            self._library.pool, self._address, rows.ctypes.data, len(rows), int(last), count
        )
        check_status(status, "a piece of sound")
        result = np.empty((count.value, self._channels), np.float32)
        functions.native_read_codec(self._address, result.ctypes.data)
        return result

    def __del__(self) -> None:
        if address := getattr(self, "_address", None):
            self._library.functions.native_close_codec(address)
