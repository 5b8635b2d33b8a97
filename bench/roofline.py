"""Lower bound of a decode step's time: the bytes it reads, over the memory bandwidth.

At batch 1 a step reads every weight of the decoder once, and all keys and values of its rows, and
computes little with them. No step can be faster than these reads (Williams et al. 2009, the sloping
part of the roofline model).
"""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch

from musicgen.model.config import DecoderConfig

PROBE_BYTES = 1 << 30
PROBE_REPEATS, QUEUED_READS = 15, 20
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1, "int4": 9 / 16}
INT8_CACHE_BYTES = 1 + 4 / 64
"""An int8 key or value with its part of the float32 factor of a head of 64."""
_CACHED_BYTES: dict[tuple[str, str], float] = {
    **{(e, f): INT8_CACHE_BYTES for e in ("musicgen", "packed") for f in ("int8", "int4")},
    **{("previous", form): 2 for form in ("int8", "int4")},
    ("openvino", "int8"): 1,
    ("openvino", "int4"): 1,
    ("openvino", "bfloat16"): 1,
    ("onnxruntime", "int8"): 4,
    ("onnxruntime", "int4"): 4,
    ("musicgen-int8-cache", "bfloat16"): INT8_CACHE_BYTES,
}
"""Bytes of a key or value where they differ from those of `WEIGHT_BYTES`, by engine and form."""


class Bandwidth(NamedTuple):
    """Bytes a second of several reads: of the best one, and their median."""

    best: float
    median: float


def measure_bandwidth(device: str = "cpu") -> Bandwidth:
    """Read a gibibyte with all threads several times."""
    x = torch.ones(PROBE_BYTES // 4, device=device)
    # A GPU reads it in a quarter of a millisecond, so the launch and the wait would count as well.
    reads = 1 if device == "cpu" else QUEUED_READS
    x.sum().item()
    rates = []
    for _ in range(PROBE_REPEATS):
        started = time.perf_counter()
        sums = [x.sum() for _ in range(reads)]
        sums[-1].item()
        rates.append(reads * PROBE_BYTES / (time.perf_counter() - started))
    return Bandwidth(max(rates), statistics.median(rates))


def read_bandwidth(device: str = "cpu") -> float:
    """Return the bytes a second of the best read."""
    return measure_bandwidth(device).best


def count_cached_bytes(contestant: str) -> float:
    """Return the bytes of one key or value of a contestant, such as "musicgen int8"."""
    engine, form = contestant.split()
    return _CACHED_BYTES.get((engine, form), 2 if form == "bfloat16" else 4)


def bytes_of_step(
    config: DecoderConfig,
    precision: str,
    position: float,
    *,
    rows: int = 2,
    cached_bytes: float = 4,
) -> float:
    """Return the bytes of the weights, and of the keys and values of `rows` rows at `position`.

    The prompt's keys and values are few and do not count.
    """
    size = config.hidden_size
    attention = 4 * size * size + (2 * size * size if config.cross_attention else 0)
    layer = attention + 2 * size * config.ffn_size
    heads = config.codebooks * config.vocab_size * size
    # Those of the logits stay in int8.
    weights = config.layers * layer * WEIGHT_BYTES[precision]
    weights += heads * max(WEIGHT_BYTES[precision], 1)
    return weights + 2 * config.layers * size * position * rows * cached_bytes
