"""One layer over the rows in their slots, as it stands or compiled by torch.compile.

What the layers differ in, their weights and their parts of the cache, comes in as tensors of the
same shapes: so the compiler meets one layer, and what it makes runs all of them. It fuses what lies
between the products. torch keeps its work in TORCHINDUCTOR_CACHE_DIR, which an image may bring.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musicgen.model.decoder import CrossAttentionStates, Decoder, Segment

SHAPES_MOST = 64
"""Of rows, past and prompt that the compiler may make separate code for."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowsNow:
    """Where each row stands. `at`: (rows,) the step that is written. `seen`: (rows, 1, 1, length)
    where a row may look. `tokens_seen`: (rows, 1, 1, tokens) the same of its prompt."""

    at: Tensor
    seen: Tensor
    tokens_seen: Tensor | None


Cached = tuple[Tensor, Tensor]
"""Keys and values (rows, heads, steps, head_dim) of one layer."""
Pass = Callable[[nn.Module, Tensor, Cached, "Cached | None", RowsNow], Tensor]


class SlotLayers:
    """The layers of `decoder`. Where the compiler fails they run uncompiled, with a warning."""

    def __init__(self, decoder: Decoder, *, compiled: bool) -> None:
        self._layers = decoder.layers
        self._pass: Pass = _pass
        self._is_compiled = compiled
        if compiled:
            import torch._dynamo.config as dynamo

            dynamo.recompile_limit = max(dynamo.recompile_limit, SHAPES_MOST)
            self._pass = torch.compile(_pass, fullgraph=True, dynamic=True)

    def __call__(self, x: Tensor, now: RowsNow, past: Cached, prompts: Cached | None) -> Tensor:
        """`x` (rows, 1, hidden) through all layers; each writes its keys and values at `now.at` of
        `past` (layers, rows, heads, length, head_dim). `prompts` likewise, with their tokens."""
        for index, layer in enumerate(self._layers):
            own = past[0][index], past[1][index]
            prompt = None if prompts is None else (prompts[0][index], prompts[1][index])
            x = self._through(layer, x, own, prompt, now)
        return x

    def _through(
        self, layer: nn.Module, x: Tensor, past: Cached, prompt: Cached | None, now: RowsNow
    ) -> Tensor:
        if self._is_compiled:
            try:
                return self._pass(layer, x, past, prompt, now)
            except torch._dynamo.exc.TorchDynamoException as error:
                logger.warning("no compiled layers, steps will be slower: %s", error)
                self._is_compiled, self._pass = False, _pass
        return self._pass(layer, x, past, prompt, now)


def _pass(layer: nn.Module, x: Tensor, past: Cached, prompt: Cached | None, now: RowsNow) -> Tensor:
    cross = None
    if prompt is not None:
        keys, values = (each[None] for each in prompt)
        # Lengths would fix the number of rows in what is compiled; the mask says the same.
        cross = CrossAttentionStates(keys, values, (), now.tokens_seen)
    cache = _LayerCache(past, now.at)
    out: Tensor = layer(x, 0, [Segment(slice(None), cache, cross, now.seen)])
    return out


class _LayerCache:
    """The cache of one layer, each row written at its own step."""

    def __init__(self, past: Cached, at: Tensor) -> None:
        self.keys, self.values = past
        self.length = past[0].shape[2]
        self._at = at

    def update(self, _layer: int, key: Tensor, value: Tensor) -> Cached:
        # Assigned by index and not scattered: the compiler does the former where it lies, and the
        # latter on a copy of the whole cache.
        rows = torch.arange(len(key), device=key.device)
        self.keys[rows, :, self._at] = key[:, :, 0]
        self.values[rows, :, self._at] = value[:, :, 0]
        return self.keys, self.values
