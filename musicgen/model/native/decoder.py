"""The layers of a decoder as one native call per step."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from musicgen.model.decoder import Decoder, DecoderLayer, Segment
from musicgen.model.native.kv_cache import BFLOAT16_FORM, FLOAT32_FORM, INT8_FORM, choose_cache_form
from musicgen.model.native.layer import NativeLinear
from musicgen.model.native.library import (
    Library,
    NativeDecoder,
    NativeLayer,
    NativeRow,
    check_status,
)

ACTIVATIONS = {"gelu": 0, "relu": 1}
COLUMNS_AT_ONCE = 8
"""Columns per call during prefill. More would need more memory and save no weight reads."""
_CACHE_TYPES = {
    INT8_FORM: (torch.int8, torch.bfloat16),
    BFLOAT16_FORM: (torch.bfloat16, torch.bfloat16),
    FLOAT32_FORM: (torch.float32, torch.float32),
}


class NativeStep:
    """All layers of `decoder` in one native call; its products must be `NativeLinear` layers.

    Rows are independent: a row gives the same bits in any batch.
    """

    def __init__(self, library: Library, decoder: Decoder, form: int) -> None:
        self._library = library
        cache = choose_cache_form(form)
        self.cache_dtype, self.prompt_dtype = _CACHE_TYPES[cache]
        config = decoder.config
        self._layers = (NativeLayer * config.layers)(
            *(self._describe_layer(cast(DecoderLayer, layer)) for layer in decoder.layers)
        )
        self._model = NativeDecoder(
            config.layers,
            config.hidden_size,
            config.heads,
            config.ffn_size,
            ACTIVATIONS[config.activation],
            cache.number,
            self._layers,
            decoder.norm.weight.data_ptr(),
            decoder.norm.bias.data_ptr(),
        )

    def __call__(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Run `x` (rows, length, hidden) through all layers, in chunks of consecutive columns."""
        chunks = torch.split(x, COLUMNS_AT_ONCE, dim=1)
        parts = [
            self._run_columns(chunk, segments, COLUMNS_AT_ONCE * index)
            for index, chunk in enumerate(chunks)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _run_columns(self, x: Tensor, segments: Sequence[Segment], start: int) -> Tensor:
        length = x.shape[1]
        rows = [
            row
            for segment in segments
            for index in range(segment.rows.stop - segment.rows.start)
            for row in _build_rows(segment, index, start, length)
        ]
        result = x.contiguous().clone()
        status = self._library.functions.native_step(
            self._library.pool,
            ctypes.byref(self._model),
            (NativeRow * len(rows))(*rows),
            len(rows),
            result.data_ptr(),
        )
        check_status(status, "a decode step")
        return result

    def _describe_layer(self, layer: DecoderLayer) -> NativeLayer:
        native = NativeLayer()
        norms = {"self_norm": layer.self_attention_norm, "ffn_norm": layer.ffn_norm}
        linears = {
            "qkv": layer.self_attention.qkv,
            "self_out": layer.self_attention.out,
            "up": layer.up,
            "down": layer.down,
        }
        if hasattr(layer, "cross_attention"):
            norms["cross_norm"] = layer.cross_attention_norm
            linears |= {
                "cross_query": layer.cross_attention.query,
                "cross_out": layer.cross_attention.out,
            }
        for name, norm in norms.items():
            setattr(native, f"{name}_weight", norm.weight.data_ptr())
            setattr(native, f"{name}_bias", norm.bias.data_ptr())
        for name, linear in linears.items():
            setattr(native, name, cast(NativeLinear, linear).address)
        return native


def _build_rows(segment: Segment, index: int, start: int, length: int) -> list[NativeRow]:
    """Return the descriptors of row `index` of a segment, one per new column from `start` on."""
    cache, cross = segment.cache, segment.cross
    keys, values = cache.keys[:, index], cache.values[:, index]
    row = NativeRow(keys.data_ptr(), values.data_ptr(), keys.stride(0), keys.stride(1))
    if cross is not None and index < cross.rows:
        cross_keys, cross_values = cross.keys[:, index], cross.values[:, index]
        row.cross_keys, row.cross_values = cross_keys.data_ptr(), cross_values.data_ptr()
        row.cross_layer_stride, row.cross_head_stride = cross_keys.stride(0), cross_keys.stride(1)
        row.cross_length = cross.lengths[index]
    padding = segment.padding[index] if segment.padding is not None else 0
    rows = []
    for position in range(cache.length + start, cache.length + start + length):
        column = NativeRow.from_buffer_copy(row)
        column.position, column.first = position, min(padding, position)
        rows.append(column)
    return rows
