"""Copies to a GPU, overlapped with the reading of the next piece.

A GPU reads pinned memory by itself, and other memory only through the processor. Two pinned buffers
take turns: one is filled from the file while the other is copied to the GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIECE_BYTES = 64 * 2**20
_BUFFERS = 2


class Staging:
    """Staging buffers for copies of tensors to `device`, one after the other.

    Without a GPU the buffers are not pinned; only tests do that.
    """

    def __init__(self, device: torch.device, piece_bytes: int = PIECE_BYTES) -> None:
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._buffers = [
            torch.empty(piece_bytes, dtype=torch.uint8, pin_memory=self._on_gpu)
            for _ in range(_BUFFERS)
        ]
        self._sent = [torch.Event(device) if self._on_gpu else None for _ in range(_BUFFERS)]
        self._next = 0

    def copy(self, tensor: Tensor) -> Tensor:
        """Return a copy on the device, complete once the current stream reaches it."""
        result = torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)
        source, target = (t.view(-1).view(torch.uint8) for t in (tensor, result))
        for start in range(0, len(source), len(self._buffers[0])):
            piece = source[start : start + len(self._buffers[0])]
            self._send(piece, target[start : start + len(piece)])
        return result

    def _send(self, piece: Tensor, target: Tensor) -> None:
        index, self._next = self._next, (self._next + 1) % _BUFFERS
        buffer, sent = self._buffers[index], self._sent[index]
        if sent is not None:
            sent.synchronize()
        buffer[: len(piece)].copy_(piece)
        target.copy_(buffer[: len(piece)], non_blocking=True)
        if sent is not None:
            sent.record()
