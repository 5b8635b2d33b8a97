"""Keys and values of the steps so far, in memory reserved once for the whole clip."""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen.model.config import DecoderConfig


class StaticKVCache:
    """A clip's length is known before it starts, so the cache never grows or moves."""

    def __init__(
        self,
        config: DecoderConfig,
        rows: int,
        capacity: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (config.layers, rows, config.heads, capacity, config.head_dim)
        self.keys = torch.empty(shape, device=device, dtype=dtype)
        self.values = torch.empty(shape, device=device, dtype=dtype)
        self.length = 0

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Writes (rows, heads, new, head_dim) behind the steps so far and returns all of them."""
        end = self.length + key.shape[2]
        self.keys[layer, :, :, self.length : end] = key
        self.values[layer, :, :, self.length : end] = value
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, steps: int) -> None:
        """Makes the steps written by the last pass through all layers part of the past."""
        self.length += steps
