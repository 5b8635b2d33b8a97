"""Random decoders for the native library, and the same arithmetic in float64. Imports no torch.

Packing is written here once more, from the description in linear.h, so that a mistake of the
project's own packing cannot hide in its expectation.
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.model.native.library import (
    BFLOAT16_CACHE,
    FLOAT32_CACHE,
    INT8_CACHE,
    Library,
    LinearFields,
    NativeDecoder,
    NativeLayer,
    NativeRow,
)

INT8, FLOAT16, FLOAT32, INT4 = 0, 1, 2, 3
INTEGERS = (INT8, INT4)
BLOCK, GROUP, TOGETHER = 16, 4, 16
SHARING, SLICE = 16, 64
GELU, RELU = 0, 1
Array = NDArray[Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])


def to_bfloat16(x: Array) -> Array:
    """Round to bfloat16, ties to even, as uint16."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(x: Array) -> Array:
    return (x.astype(np.uint32) << 16).view(np.float32)


def pad(x: Array, axis: int, multiple: int) -> Array:
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % multiple)
    return np.pad(x, widths)


class Linear:
    """A packed weight (outputs, inputs) and its meaning."""

    def __init__(self, weight: Array, form: int, place: Any = np.ascontiguousarray) -> None:
        self.form, (self.outputs, self.inputs) = form, weight.shape
        self.scales = self.sums = None
        if form == INT8:
            scales = (np.maximum(np.abs(weight).max(axis=1), 1e-12) / 127).astype(np.float32)
            self.numbers = np.rint(weight / scales[:, None]).clip(-127, 127).astype(np.int8)
            blocks = pad(pad(self.numbers, 0, BLOCK), 1, GROUP)
            blocks = blocks.reshape(-1, BLOCK, blocks.shape[1] // GROUP, GROUP)
            self.scales = place(pad(scales, 0, BLOCK))
            self.sums = place(pad(self.numbers.sum(axis=1, dtype=np.int32), 0, BLOCK))
            blocks = blocks.transpose(0, 2, 1, 3)
        elif form == INT4:
            blocks, self.numbers, scales = _pack_int4(weight)
            self.scales = place(pad(scales, 0, BLOCK))
        else:
            self.numbers = weight.astype(np.float16 if form == FLOAT16 else np.float32)
            blocks = pad(self.numbers, 0, BLOCK).reshape(-1, BLOCK, self.inputs, 1)
            blocks = blocks.transpose(0, 2, 1, 3)
        self.weight = place(blocks)
        self.fields = LinearFields(
            *(self.outputs, self.inputs, form, 0),
            *(None if x is None else x.ctypes.data for x in (self.weight, self.scales, self.sums)),
        )

    @property
    def address(self) -> int:
        return ctypes.addressof(self.fields)

    def multiply(self, library: Library, x: Array, place: Any = np.ascontiguousarray) -> Array:
        """Return the library's product of x (rows, inputs)."""
        x = place(x)
        out = place(np.full((len(x), self.outputs), np.nan, np.float32))
        library.functions.native_multiply(
            library.pool, self.address, x.ctypes.data, len(x), out.ctypes.data
        )
        return out

    def expect(self, x: Array) -> Array:
        """Return the product in float64; of integers the float32 numbers to be met bit by bit."""
        if self.form not in INTEGERS:
            return x.astype(np.float64) @ self.numbers.T.astype(np.float64)
        assert self.scales is not None
        x = x.astype(np.float32)
        scales = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.float32(1e-12))
        scales = scales / np.float32(127)
        inverse = (np.float32(1) / scales).astype(np.float64)
        quantized = np.rint(x.astype(np.float64) * inverse).astype(np.int64)
        exact = quantized @ self.numbers.T.astype(np.int64)
        return exact.astype(np.float32) * (self.scales[: self.outputs] * scales)


def _pack_int4(weight: Array) -> tuple[Array, Array, Array]:
    """Return the bytes, the whole numbers that they mean, and the scale of each output."""
    outputs, inputs = weight.shape
    groups = pad(weight, 1, SLICE).reshape(outputs, -1, SHARING)
    largest = np.maximum(np.abs(groups).max(axis=(1, 2)), 1e-12)
    scales = (largest / (127 * 7)).astype(np.float32)
    factors = np.rint(127 * np.abs(groups).max(axis=2) / largest[:, None]).clip(1, 127)
    factors[:, ::2] *= -1
    levels = np.rint(groups / (scales[:, None, None] * factors[..., None])).clip(-8, 7)
    numbers = (levels * factors[..., None]).reshape(outputs, -1)[:, :inputs].astype(np.int64)
    parts = []
    for block in range(0, outputs, BLOCK):
        some = pad(levels[block : block + BLOCK].reshape(-1, groups[0].size), 0, BLOCK)
        own = pad(factors[block : block + BLOCK], 0, BLOCK)
        for start in range(0, groups[0].size, SLICE):
            first = start // SHARING
            parts += [int(f) & 255 for f in own[:, first : first + SLICE // SHARING].T.flat]
            for line in range(start, start + SLICE, 8):
                for row in some[:, line : line + 8].astype(int) + 8:
                    parts += [row[j] | row[j + 4] << 4 for j in range(4)]
    return np.array(parts, np.uint8), numbers, scales


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder."""

    layers: int
    heads: int
    head_size: int
    ffn: int
    form: int
    cache: int
    activation: int
    has_cross: bool

    @property
    def hidden(self) -> int:
        return self.heads * self.head_size


class Decoder:
    """A random decoder; `place` puts each array where the library reads it."""

    def __init__(self, shape: Shape, seed: int, place: Any = np.ascontiguousarray) -> None:
        self.shape, self.place = shape, place
        random = np.random.default_rng(seed)
        hidden, ffn = shape.hidden, shape.ffn

        def norm() -> tuple[Array, Array]:
            weight, bias = 1 + 0.2 * random.normal(size=hidden), 0.1 * random.normal(size=hidden)
            return place(weight.astype(np.float32)), place(bias.astype(np.float32))

        def linear(outputs: int, inputs: int) -> Linear:
            return Linear(random.normal(size=(outputs, inputs)) / inputs**0.5, shape.form, place)

        self.layers: list[dict[str, Any]] = []
        for _ in range(shape.layers):
            layer = {
                "self_norm": norm(),
                "qkv": linear(3 * hidden, hidden),
                "self_out": linear(hidden, hidden),
                "ffn_norm": norm(),
                "up": linear(ffn, hidden),
                "down": linear(hidden, ffn),
            }
            if shape.has_cross:
                layer |= {"cross_norm": norm()}
                layer |= {name: linear(hidden, hidden) for name in ("cross_query", "cross_out")}
            self.layers.append(layer)
        self.norm = norm()
        self._fields = (NativeLayer * shape.layers)(*map(_describe_layer, self.layers))
        self.fields = NativeDecoder(
            *(shape.layers, hidden, shape.heads, ffn, shape.activation, shape.cache),
            *(self._fields, *(x.ctypes.data for x in self.norm)),
        )

    def step(self, library: Library, rows: list[Row], x: Array) -> Array:
        """Return the library's step of x (rows, hidden)."""
        x = self.place(x.copy())
        fields = (NativeRow * len(rows))(*(row.fields for row in rows))
        library.functions.native_step(
            library.pool, ctypes.byref(self.fields), fields, len(rows), x.ctypes.data
        )
        return x

    def expect(self, rows: list[Row], x: Array) -> Array:
        """Return the step in float64, each row for itself."""
        found = np.empty(x.shape)
        for index, row in enumerate(rows):
            found[index] = self._expect_row(row, x[index].astype(np.float64))
        return found

    def _expect_row(self, row: Row, x: Array) -> Array:
        hidden = self.shape.hidden
        for index, layer in enumerate(self.layers):
            qkv = layer["qkv"].expect(_normalize(x, *layer["self_norm"])[None])[0]
            query, key, value = np.split(qkv.astype(np.float64), 3)
            heads = (self.shape.heads, self.shape.head_size)
            keys, values = (
                np.concatenate(
                    (
                        cache[index, :, row.first : row.position],
                        round_cache(new.reshape(heads), self.shape.cache)[:, None],
                    ),
                    axis=1,
                )
                for cache, new in ((row.key_numbers, key), (row.value_numbers, value))
            )
            mixed = _attend(query.reshape(heads), keys, values).reshape(1, hidden)
            x = x + layer["self_out"].expect(mixed)[0]
            if self.shape.has_cross and row.cross_keys is not None:
                query = layer["cross_query"].expect(_normalize(x, *layer["cross_norm"])[None])[0]
                keys, values = (
                    read_cache(row.cross_keys[index]),
                    read_cache(row.cross_values[index]),
                )
                mixed = _attend(query.reshape(heads), keys, values).reshape(1, hidden)
                x = x + layer["cross_out"].expect(mixed)[0]
            middle = layer["up"].expect(_normalize(x, *layer["ffn_norm"])[None]).astype(np.float64)
            if self.shape.activation == GELU:
                middle = middle * 0.5 * (1 + _erf(middle / 2**0.5))
            else:
                middle = np.maximum(middle, 0)
            x = x + layer["down"].expect(middle)[0]
        return _normalize(x, *self.norm)


class Row:
    """One row with a cache of exactly its length; positions before `first` must not be read."""

    def __init__(
        self, decoder: Decoder, seed: int, position: int, first: int, cross_length: int | None
    ) -> None:
        shape, random = decoder.shape, np.random.default_rng(seed)
        self.position, self.first = position, first

        def numbers(length: int) -> Array:
            size = (shape.layers, shape.heads, length, shape.head_size)
            return random.normal(size=size).astype(np.float32)

        def own() -> tuple[Array, Array]:
            made = numbers(position + 1)
            made[:, :, :first], made[:, :, position:] = np.nan, np.nan
            return round_cache(made, shape.cache), decoder.place(store_cache(made, shape.cache))

        def prompt(length: int) -> Array:
            made = numbers(length)
            return decoder.place(made if shape.cache == FLOAT32_CACHE else to_bfloat16(made))

        (self.key_numbers, self.keys), (self.value_numbers, self.values) = own(), own()
        self.cross_keys = self.cross_values = None
        self.fields = NativeRow(
            *(self.keys.ctypes.data, self.values.ctypes.data, *_strides(self.keys)),
            *(position, first),
        )
        if cross_length is not None:
            self.cross_keys, self.cross_values = prompt(cross_length), prompt(cross_length)
            self.fields.cross_keys = self.cross_keys.ctypes.data
            self.fields.cross_values = self.cross_values.ctypes.data
            strides = _strides(self.cross_keys)
            self.fields.cross_layer_stride, self.fields.cross_head_stride = strides
            self.fields.cross_length = cross_length


def read_cache(cache: Array) -> Array:
    return (from_bfloat16(cache) if cache.dtype == np.uint16 else cache).astype(np.float64)


def round_cache(numbers: Array, cache: int) -> Array:
    """Return numbers (..., head size) as the cache holds them."""
    if cache == FLOAT32_CACHE:
        return numbers.astype(np.float64)
    if cache == INT8_CACHE:
        whole, factors = quantize_columns(numbers)
        return whole * factors[..., None]
    return from_bfloat16(to_bfloat16(numbers)).astype(np.float64)


def quantize_columns(numbers: Array) -> tuple[Array, Array]:
    """Return the integers of keys or values (..., head size), and the factor of each."""
    largest = np.maximum(np.abs(numbers.astype(np.float32)).max(axis=-1), np.float32(1e-12))
    factors = largest / np.float32(127)
    inverse = (np.float32(1) / factors).astype(np.float64)
    with np.errstate(invalid="ignore"):
        whole = np.rint(numbers.astype(np.float64) * inverse[..., None])
    return whole, factors.astype(np.float64)


def store_cache(numbers: Array, cache: int) -> Array:
    """Return numbers (layers, heads, columns, size) in the layout of the cache."""
    if cache == FLOAT32_CACHE:
        return numbers
    if cache == BFLOAT16_CACHE:
        return to_bfloat16(numbers)
    whole, factors = (pad(x, 2, TOGETHER) for x in quantize_columns(numbers))
    # What is not a number has the factor that says so.
    whole = np.nan_to_num(whole).astype(np.int8)
    together = (*whole.shape[:2], -1, TOGETHER)
    parts = whole.reshape(*together[:3], TOGETHER * whole.shape[3])
    own = factors.astype(np.float32).reshape(together).view(np.int8)
    return np.concatenate([parts, own], axis=-1)


def _strides(array: Array) -> tuple[int, int]:
    return array[0].size, array[0, 0].size


def _describe_layer(layer: dict[str, Any]) -> NativeLayer:
    native = NativeLayer()
    for name, part in layer.items():
        if isinstance(part, Linear):
            setattr(native, name, part.address)
        else:
            setattr(native, f"{name}_weight", part[0].ctypes.data)
            setattr(native, f"{name}_bias", part[1].ctypes.data)
    return native


def _normalize(x: Array, weight: Array, bias: Array) -> Array:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def _attend(query: Array, keys: Array, values: Array) -> Array:
    """Query (heads, size); keys and values (heads, length, size)."""
    scores = np.einsum("hs,hts->ht", query, keys) / keys.shape[-1] ** 0.5
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("ht,hts->hs", weights, values)
