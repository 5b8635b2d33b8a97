"""Packed weights of the native codec, in numpy. Imports no torch.

The decoder has int16 weights in the int8 and 16-bit forms, and float32 weights in the float32 form.
The encoder always has float32 weights, because rounding would change tokens. codec_products.h
documents the layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.model.config import CodecConfig
from musicgen.model.native.codec_plan import UNITS, WIDTH, Product, plan_decoder, plan_encoder

INT16, FLOAT32 = 0, 1
CODEBOOKS = "codec.codebooks"
CHUNK_INPUTS = 32
"""Inputs whose products are added in one exact sum."""
_LARGEST_ACTIVATION = 16383
_LARGEST_WEIGHT = 32767
# Each rounded weight may be half a unit larger.
_LARGEST_SUM = (2**31 - 1) // _LARGEST_ACTIVATION - CHUNK_INPUTS // 2
_SMALLEST = 1e-30

Array = NDArray[Any]
Shapes = dict[str, tuple[tuple[int, ...], np.dtype[Any]]]


class CodecPacking:
    """Packing of one codec's weights; `form` is that of the decoder.

    Raises: `UnsupportedCheckpoint`.
    """

    def __init__(self, config: CodecConfig, form: int) -> None:
        self._by_name: dict[str, tuple[Product, int]] = {}
        for layers, used in ((plan_decoder(config), form), (plan_encoder(config), FLOAT32)):
            for product in (product for layer in layers for product in layer.products):
                self._by_name[product.weight] = self._by_name[product.bias] = product, used

    def describe(self, name: str, shape: tuple[int, ...]) -> Shapes:
        """Return shapes and types of the arrays stored for the weight `name` of `shape`."""
        single = np.dtype(np.float32)
        if name not in self._by_name:
            return {name: (shape, single)}
        product, form = self._by_name[name]
        padded = product.blocks * WIDTH
        if name == product.bias:
            return {name: ((padded,), single)}
        blocks, taps, inputs = product.blocks, product.taps, product.inputs
        if form == FLOAT32:
            return {name: ((blocks, taps, inputs, WIDTH), single)}
        packed = (blocks, taps, -(-inputs // 2), WIDTH, 2)
        return {name: (packed, np.dtype(np.int16)), product.scales: ((padded,), single)}

    def pack(self, name: str, array: Array) -> dict[str, Array]:
        """Return the arrays stored for one of the codec's weights."""
        array = np.ascontiguousarray(array, np.float32)
        if name not in self._by_name:
            return {name: array}
        product, form = self._by_name[name]
        if name == product.bias:
            return {name: _pack_bias(product, array)}
        weight = _arrange(product, array)
        if form == FLOAT32:
            return {name: _pack_float32(weight)}
        packed, scales = _pack_int16(weight)
        return {name: packed, product.scales: scales}


def pack_codec(config: CodecConfig, arrays: Mapping[str, Array], form: int) -> dict[str, Array]:
    """Pack the weights of a codec; `arrays` may hold other weights of the model too."""
    packing = CodecPacking(config, form)
    packed: dict[str, Array] = {}
    for name in arrays:
        if name.startswith("codec."):
            packed.update(packing.pack(name, arrays[name]))
    return packed


def _arrange(product: Product, array: Array) -> Array:
    """Return the weight of a product as (outputs, taps, inputs)."""
    if product.arrangement == "gates":
        return _arrange_gates(array)[:, None]
    if product.arrangement == "transposed":
        # Phase p of frame t adds the input of t times tap p, and the input before times tap
        # p + ratio.
        inputs, outputs, _ = array.shape
        taps = array.reshape(inputs, outputs, 2, product.fold)[:, :, ::-1]
        return taps.transpose(3, 1, 2, 0).reshape(-1, 2, inputs)
    outputs, inputs, kernel = array.shape
    folded = np.zeros((product.fold, outputs, product.taps, inputs), np.float32)
    for frame in range(product.fold):
        folded[frame, :, frame : frame + kernel] = array.transpose(0, 2, 1)
    return folded.reshape(-1, product.taps, inputs)


def _arrange_gates(array: Array) -> Array:
    """Rearrange LSTM gates (4 * units, ...) to groups of 4 gates of 16 units, zero-padded."""
    gates = array.reshape(4, -1, *array.shape[1:])
    padding = [(0, 0)] * gates.ndim
    padding[1] = (0, -gates.shape[1] % UNITS)
    groups = np.pad(gates, padding).reshape(4, -1, UNITS, *array.shape[1:])
    return groups.swapaxes(0, 1).reshape(-1, *array.shape[1:])


def _pack_bias(product: Product, array: Array) -> Array:
    bias = _arrange_gates(array) if product.arrangement == "gates" else np.tile(array, product.fold)
    return np.pad(bias, (0, product.blocks * WIDTH - len(bias)))


def _pack_float32(weight: Array) -> Array:
    outputs, taps, inputs = weight.shape
    padded = np.pad(weight, ((0, -outputs % WIDTH), (0, 0), (0, 0)))
    blocks = padded.reshape(-1, WIDTH, taps, inputs)
    return np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))


def _pack_int16(weight: Array) -> tuple[Array, Array]:
    """Round a weight (outputs, taps, inputs) with one scale per output.

    The scale is the smallest for which no sum over `CHUNK_INPUTS` inputs can overflow int32.
    """
    outputs, taps, inputs = weight.shape
    chunks = np.pad(np.abs(weight), ((0, 0), (0, 0), (0, -inputs % CHUNK_INPUTS)))
    sums = chunks.reshape(outputs, -1, CHUNK_INPUTS).sum(axis=2, dtype=np.float64).max(axis=1)
    largest = chunks.max(axis=(1, 2)).astype(np.float64)
    scales = np.maximum(np.maximum(sums / _LARGEST_SUM, largest / _LARGEST_WEIGHT), _SMALLEST)
    scales = scales.astype(np.float32)
    numbers = np.rint(weight / scales[:, None, None])
    rounded = np.clip(numbers, -_LARGEST_WEIGHT, _LARGEST_WEIGHT).astype(np.int16)
    padded = np.pad(rounded, ((0, -outputs % WIDTH), (0, 0), (0, inputs % 2)))
    blocks = padded.reshape(-1, WIDTH, taps, padded.shape[2] // 2, 2)
    packed = np.ascontiguousarray(blocks.transpose(0, 2, 3, 1, 4))
    return packed, np.pad(scales, (0, -outputs % WIDTH))
