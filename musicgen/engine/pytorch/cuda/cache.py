"""KV cache of the slots, in the type of the weights or in 8 bits.

With many rows, a step reads mostly keys and values. In int8 each vector of a head has a factor of
its own, so new columns change no old one. Kernels read the numbers and multiply scores and weights
by the factors; there is no copy in the type of the weights. Factors of float32 have the range of
bfloat16 keys; those of float16 would save 3 % of the bytes and lose it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen.engine.pytorch.cuda.kernels.options import INT8
from musicgen.engine.pytorch.cuda.kernels.twins import KeysValues, quantize_vectors
from musicgen.model.config import DecoderConfig

PIECE_NUMBERS = 1 << 22
"""Numbers quantized at once, in float32: a long prefill would need gigabytes beside its cache."""


class SlotCache:
    """Keys and values (layers, slots, heads, capacity, head_dim) of all slots, zero at first.

    `form`: "" for the type `dtype`, or "int8". Then `factors` has those of the keys and of the
    values, float32 (layers, slots, heads, capacity), else None.
    """

    def __init__(
        self,
        config: DecoderConfig,
        slots: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        form: str = "",
    ) -> None:
        columns = (config.layers, slots, config.heads, capacity)
        shape, stored = (*columns, config.head_dim), torch.int8 if form == INT8 else dtype
        self.keys, self.values = (torch.zeros(shape, dtype=stored, device=device) for _ in range(2))
        self.factors: KeysValues | None = None
        if form == INT8:
            self.factors = (
                torch.zeros(columns, dtype=torch.float32, device=device),
                torch.zeros(columns, dtype=torch.float32, device=device),
            )

    @staticmethod
    def compute_slot_bytes(config: DecoderConfig, capacity: int, size: int, form: str = "") -> int:
        """Return the bytes of one slot. `size`: bytes of a number in the type of the weights."""
        vector = config.head_dim * size
        if form == INT8:
            vector = config.head_dim + torch.float32.itemsize
        return 2 * config.layers * config.heads * capacity * vector

    def store(self, slots: Tensor, keys: Tensor, values: Tensor) -> None:
        """Replace the content of `slots` (rows,) by the columns of a prefill.

        `keys`, `values`: (layers, rows, heads, columns, head_dim), in the type of the weights.
        """
        # Masked values are multiplied by zero, and a NaN left by another job would survive that.
        for tensor in (self.keys, self.values, *(self.factors or ())):
            tensor[:, slots] = 0
        columns = keys.shape[3]
        if self.factors is None:
            self.keys[:, slots, :, :columns] = keys
            self.values[:, slots, :, :columns] = values
            return
        for source, numbers, factors in (
            (keys, self.keys, self.factors[0]),
            (values, self.values, self.factors[1]),
        ):
            layers = max(1, PIECE_NUMBERS // max(1, source[0].numel()))
            for start in range(0, len(source), layers):
                piece = slice(start, start + layers)
                rounded, scales = quantize_vectors(source[piece])
                numbers[piece][:, slots, :, :columns] = rounded
                factors[piece][:, slots, :, :columns] = scales

    def select(self, rows: int, length: int) -> KeysValues:
        """Return the keys and values of the first `rows` slots and `length` columns."""
        return self.keys[:, :rows, :, :length], self.values[:, :rows, :, :length]

    def select_factors(self, rows: int, length: int) -> KeysValues | None:
        """Return the factors of the first `rows` slots and `length` columns, or None."""
        if self.factors is None:
            return None
        return self.factors[0][:, :rows, :, :length], self.factors[1][:, :rows, :, :length]
