"""How far a decode step is from the memory's speed: bytes that it must read, over bandwidth.

At batch 1 a step reads every weight of the decoder once, and all keys and values of its rows, and
computes little with them, so no step can be faster than that reading (Williams et al. 2009, the
roofline model's sloping part).
"""

from __future__ import annotations

import time

import torch

from musicgen.model.config import DecoderConfig

PROBE_BYTES = 1 << 30
PROBE_REPEATS = 5
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}


def read_bandwidth(device: str = "cpu") -> float:
    """Bytes a second of reading a gibibyte once, by all threads of PyTorch; the best of a few."""
    x = torch.ones(PROBE_BYTES // 4, device=device)
    best = 0.0
    for _ in range(PROBE_REPEATS):
        started = time.perf_counter()
        x.sum().item()
        best = max(best, PROBE_BYTES / (time.perf_counter() - started))
    return best


def bytes_of_step(
    config: DecoderConfig, precision: str, position: float, *, rows: int = 2, cached_bytes: int = 4
) -> float:
    """Weights, and keys and values of `rows` rows at `position`.

    The prompt's own keys and values are cached, too, but too few to count.
    """
    size = config.hidden_size
    attention = 4 * size * size + (2 * size * size if config.cross_attention else 0)
    layer = attention + 2 * size * config.ffn_size
    heads = config.codebooks * config.vocab_size * size
    weights = (config.layers * layer + heads) * WEIGHT_BYTES[precision]
    return weights + 2 * config.layers * size * position * rows * cached_bytes
