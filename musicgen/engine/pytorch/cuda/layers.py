"""One decoder layer over the rows in their slots, either eager or compiled by torch.compile.

Layers differ in their weights and in their part of the KV cache. Both are arguments of one function
and have the same shapes for all layers, so the compiler compiles a single layer and reuses the code
for the others. It fuses the operations between the matrix products. torch stores its work in
TORCHINDUCTOR_CACHE_DIR; an image may ship that folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from musicgen.model.decoder import CrossAttentionCache, Decoder, Segment

MAX_SHAPES = 64
"""Limit of recompilations: shapes of rows, cache and prompt with code of their own."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RowPositions:
    """Positions and attention masks of the rows in one step.

    `rows`: (rows,) their numbers. `column`: (rows,) the cache column to write. `mask`: (rows, 1, 1,
    length), added to the scores: 0 at the cache columns a row attends to, minus infinity elsewhere.
    `prompt_mask`: (rows, 1, 1, tokens), the same for the tokens of its prompt.
    """

    rows: Tensor
    column: Tensor
    mask: Tensor
    prompt_mask: Tensor | None


KeysValues = tuple[Tensor, Tensor]
"""Keys and values (rows, heads, steps, head_dim) of one layer."""
LayerFunction = Callable[[nn.Module, Tensor, KeysValues, "KeysValues | None", RowPositions], Tensor]


class SlotLayers:
    """The layers of `decoder`, compiled if asked for.

    When compilation fails, the layers run eagerly and a warning is logged.
    """

    def __init__(self, decoder: Decoder, *, compiled: bool) -> None:
        self._layers = decoder.layers
        self._run_layer: LayerFunction = _run_layer
        self._is_compiled = compiled
        if compiled:
            import torch._dynamo.config as dynamo

            dynamo.recompile_limit = max(dynamo.recompile_limit, MAX_SHAPES)
            self._run_layer = torch.compile(_run_layer, fullgraph=True, dynamic=True)

    def __call__(
        self, x: Tensor, positions: RowPositions, cache: KeysValues, prompts: KeysValues | None
    ) -> Tensor:
        """Run `x` (rows, 1, hidden) through all layers.

        Each layer writes its keys and values at `positions.column` of `cache` (layers, rows, heads,
        length, head_dim). `prompts` has the same shape, with tokens in place of the length.
        """
        for index, layer in enumerate(self._layers):
            own = cache[0][index], cache[1][index]
            prompt = None if prompts is None else (prompts[0][index], prompts[1][index])
            x = self._try_compiled(layer, x, own, prompt, positions)
        return x

    def _try_compiled(
        self,
        layer: nn.Module,
        x: Tensor,
        cache: KeysValues,
        prompt: KeysValues | None,
        positions: RowPositions,
    ) -> Tensor:
        if self._is_compiled:
            try:
                return self._run_layer(layer, x, cache, prompt, positions)
            except torch._dynamo.exc.TorchDynamoException as error:
                logger.warning("torch.compile failed; the layers run uncompiled, slower: %s", error)
                self._is_compiled, self._run_layer = False, _run_layer
        return self._run_layer(layer, x, cache, prompt, positions)


def _run_layer(
    layer: nn.Module,
    x: Tensor,
    cache: KeysValues,
    prompt: KeysValues | None,
    positions: RowPositions,
) -> Tensor:
    cross = None
    if prompt is not None:
        keys, values = (tensor[None] for tensor in prompt)
        # Prompt lengths would make the number of rows a constant of the compiled code. The mask
        # carries the same information.
        cross = CrossAttentionCache(keys, values, (), positions.prompt_mask)
    layer_cache = _SlotLayerCache(cache, positions)
    segment = Segment(slice(None), layer_cache, cross, positions.mask)
    out: Tensor = layer(x, 0, [segment])
    return out


class _SlotLayerCache:
    """KV cache of one layer; each row is written at its own column."""

    def __init__(self, cache: KeysValues, positions: RowPositions) -> None:
        self.keys, self.values = cache
        self.length = cache[0].shape[2]
        self._rows, self._column = positions.rows, positions.column

    def update(self, _layer: int, key: Tensor, value: Tensor) -> KeysValues:
        # Index assignment instead of scatter: the compiler runs the former in place, and the latter
        # on a copy of the whole cache.
        self.keys[self._rows, :, self._column] = key[:, :, 0]
        self.values[self._rows, :, self._column] = value[:, :, 0]
        return self.keys, self.values
