"""KV cache of one job, preallocated for its whole sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen.model.config import DecoderConfig
from musicgen.model.native.kv_cache import INT8_FORM


class StaticKVCache:
    """KV cache of fixed capacity: the length is known in advance, so it never grows or moves.

    int8 is the format of the native step, which stores keys and values itself.
    """

    def __init__(
        self,
        config: DecoderConfig,
        rows: int,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        columns = (capacity, config.head_dim)
        if dtype == torch.int8:
            columns = INT8_FORM.compute_shape(*columns)
        shape = (config.layers, rows, config.heads, *columns)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (rows, heads, new, head_dim) to `layer`; return all its keys and values."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, steps: int) -> None:
        """Count `steps` appended columns as part of the past, after a pass through all layers."""
        self.length += steps
