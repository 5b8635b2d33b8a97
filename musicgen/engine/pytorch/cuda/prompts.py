"""The text encoder as CUDA graphs, one for each bucket of prompt lengths."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from musicgen.engine.pytorch.cuda.capture import GraphCache, select_device
from musicgen.model.musicgen import MusicGen
from musicgen.model.upload import upload

BUCKETS = (16, 32, 64, 128)
"""Prompt lengths with a graph. Fused attention reads a bias whose rows are multiples of eight."""


class PromptGraphs:
    """Text encoder whose prompts are padded to a length in `BUCKETS`, behind a mask.

    A graph has one prompt: the states of a prompt never depend on the others of its request.
    `capture`: off runs the same work uncaptured. A prompt beyond all buckets runs unpadded.
    """

    def __init__(self, model: MusicGen, *, capture: bool) -> None:
        self._model, self._device = model, model.device
        self.graphs: GraphCache[int] = GraphCache("text encoder", enabled=capture)
        self._lock = threading.Lock()
        longest, size = BUCKETS[-1], model.config.decoder.hidden_size
        # The number of tokens, and then the tokens.
        self._input = torch.zeros(1 + longest, dtype=torch.int64, device=self._device)
        self._states = torch.zeros(1, longest, size, dtype=model.dtype, device=self._device)

    @torch.inference_mode()
    def encode(self, tokens: Sequence[int]) -> Tensor:
        """Encode the tokens of one prompt to states (1, length, hidden)."""
        count = len(tokens)
        bucket = next((length for length in BUCKETS if length >= count), None)
        if bucket is None:
            return self._model.encode_text(upload([list(tokens)], self._device))
        padded = upload([count, *tokens, *[0] * (bucket - count)], self._device, torch.int64)
        with self._lock, select_device(self._device):
            self._input[: 1 + bucket].copy_(padded)
            self.graphs.run(bucket, partial(self._encode, bucket))
            return self._states[:, :count].clone()

    def _encode(self, bucket: int) -> None:
        tokens = self._input[None, 1 : 1 + bucket]
        allowed = torch.arange(bucket, device=self._device) < self._input[:1]
        self._states[:, :bucket].copy_(self._model.encode_text(tokens, allowed[None]))
