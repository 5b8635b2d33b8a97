"""The decoder's step as a graph for other runtimes, and a generation that feeds it.

`StepGraph` is one decode step of a guided clip (2 rows) in plain PyTorch: tokens in, logits out,
the KV cache as inputs and outputs. Only the prompted row has cross-attention, as in this engine, so
the runtimes are spared the work that transformers does in vain. `run_clip` feeds a step as a
generation does: guidance, top-k sampling, the delay pattern, and a cache of growing length.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.contestants import GUIDANCE, PROMPT, TOP_K
from musicgen.checkpoints.weights import load_model
from musicgen.model.config import MusicGenConfig
from musicgen.model.decoder import Decoder, DecoderLayer, build_sinusoidal_positions
from musicgen.model.musicgen import MusicGen
from musicgen.model.tokenizer import load_tokenizer

ROWS = 2
LONGEST = 1504
"""Steps of a clip of 30 s, rounded up."""
CHECKED_STEPS = 24
WORST_ERROR = {"float32": 1e-3, "bfloat16": 0.05, "int8": 0.2, "int4": 0.6}
"""Largest relative error of the logits by form; a wrong graph is off by about 1.4."""
Array = NDArray[Any]
Step = Callable[[Array, int], Array]
"""From tokens (codebooks,) int64 and their position to float32 logits (2, codebooks, vocabulary).

Position 0 begins a new clip.
"""


@dataclass(frozen=True)
class Subject:
    """A float32 model, and the keys and values of its prompt, each (1, heads, tokens, head_dim)."""

    model: MusicGen
    cross: list[tuple[Tensor, Tensor]]

    @property
    def decoder(self) -> Decoder:
        return self.model.decoder


class StepGraph(nn.Module):
    """One decode step. The order of its inputs is `name_inputs`, that of outputs `name_outputs`."""

    def __init__(self, decoder: Decoder, length: int) -> None:
        super().__init__()
        self.decoder = decoder
        positions = build_sinusoidal_positions(length, decoder.config.hidden_size)
        self.register_buffer("positions", positions)
        self.register_buffer(
            "offsets", torch.arange(decoder.config.codebooks) * (decoder.config.vocab_size + 1)
        )

    def forward(self, tokens: Tensor, position: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Run tokens (codebooks,) at position (1,); `caches`: past and cross, key and value."""
        layers = len(self.decoder.layers)
        embedded = F.embedding(tokens + self.offsets, self.decoder.embeddings).sum(dim=0)
        x = embedded[None, None] + F.embedding(position, cast(Tensor, self.positions))[None]
        x = x.expand(ROWS, 1, -1)
        present: list[Tensor] = []
        for index, layer in enumerate(self.decoder.layers):
            past, cross = caches[2 * index : 2 * index + 2], caches[2 * (layers + index) :][:2]
            x, key, value = _run_layer(cast(DecoderLayer, layer), x, past, cross)
            present += [key, value]
        logits = self.decoder.heads(self.decoder.norm(x))
        config = self.decoder.config
        return logits.view(ROWS, config.codebooks, config.vocab_size), *present


class CodecGraph(torch.nn.Module):
    """EnCodec's decoder for one clip: codes (codebooks, frames) to samples."""

    def __init__(self, codec: torch.nn.Module) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.codec.decode(codes[None])[0, 0]


def _run_layer(
    layer: DecoderLayer, x: Tensor, past: tuple[Tensor, ...], cross: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    attention, dim = layer.self_attention, layer.self_attention.head_dim
    query, key, value = (
        _split_heads(part, dim)
        for part in attention.qkv(layer.self_attention_norm(x)).chunk(3, dim=-1)
    )
    key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
    x = x + attention.out(_join_heads(F.scaled_dot_product_attention(query, key, value)))
    block, prompted = layer.cross_attention, x[:1]
    query = _split_heads(block.query(layer.cross_attention_norm(prompted)), dim)
    mixed = F.scaled_dot_product_attention(query, cross[0], cross[1])
    x = torch.cat([prompted + block.out(_join_heads(mixed)), x[1:]])
    return x + layer.down(layer.activation(layer.up(layer.ffn_norm(x)))), key, value


def _split_heads(x: Tensor, head_dim: int) -> Tensor:
    return x.view(x.shape[0], 1, -1, head_dim).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def name_caches(kind: str, layers: int) -> list[str]:
    """Return the names of a kind of cache: "past", "present" or "cross"."""
    return [f"{kind}_{part}_{i}" for i in range(layers) for part in ("key", "value")]


def name_inputs(layers: int) -> list[str]:
    return ["tokens", "position", *name_caches("past", layers), *name_caches("cross", layers)]


def name_outputs(layers: int) -> list[str]:
    return ["logits", *name_caches("present", layers)]


def build_example(subject: Subject, past: int = 3) -> tuple[Tensor, ...]:
    """Return inputs to trace with: `past` steps of an empty cache."""
    config = subject.decoder.config
    empty = torch.zeros(ROWS, config.heads, past, config.head_dim)
    cross = [tensor for pair in subject.cross for tensor in pair]
    tokens = torch.zeros(config.codebooks, dtype=torch.int64)
    return tokens, torch.tensor([past]), *[empty] * (2 * config.layers), *cross


@torch.inference_mode()
def load_subject(folder: Path) -> Subject:
    """Load the float32 weights and encode the prompt.

    Raises: `ValueError` for a model without cross-attention.
    """
    config = MusicGenConfig.from_folder(folder)
    if not config.decoder.cross_attention:
        raise ValueError(f"{folder}: only models of the text family are converted")
    model = load_model(folder, config, torch.device("cpu"), torch.float32)
    states = model.encode_text(torch.tensor([load_tokenizer(folder)(PROMPT)]))
    cache = model.decoder.build_cross_attention_cache(states)
    return Subject(model, list(zip(cache.keys, cache.values, strict=True)))


@torch.inference_mode()
def compute_reference(subject: Subject, steps: int = CHECKED_STEPS) -> tuple[Array, Array]:
    """Return random tokens (steps, codebooks) and their logits (steps, 2, codebooks, vocabulary).

    They come from the decoder itself with its own cache, not from `StepGraph`.
    """
    from musicgen.engine.pytorch.kv_cache import StaticKVCache
    from musicgen.model.decoder import CrossAttentionCache

    decoder, config = subject.decoder, subject.decoder.config
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(config.vocab_size, (steps, config.codebooks), generator=generator)
    keys, values = (torch.stack(parts) for parts in zip(*subject.cross, strict=True))
    cross = CrossAttentionCache(keys, values, (keys.shape[3],), None)
    cache = StaticKVCache(config, ROWS, steps, torch.device("cpu"), torch.float32)
    x = decoder.embed(tokens.t()[None].expand(ROWS, -1, -1))
    x = x + build_sinusoidal_positions(steps, config.hidden_size)
    logits = []
    for column in x.split(1, dim=1):
        logits.append(decoder.compute_logits(decoder(column, cache, cross)[:, -1]))
        cache.advance(1)
    return tokens.numpy(), torch.stack(logits).numpy()


def check_step(step: Step, reference: tuple[Array, Array], precision: str) -> float:
    """Return the relative error of the logits. Raises: `AssertionError` if it is too large."""
    tokens, expected = reference
    actual = np.stack([step(column, position) for position, column in enumerate(tokens)])
    error = float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
    if not error <= WORST_ERROR[precision]:
        raise AssertionError(f"not the same logits: relative error {error:.2g} ({precision})")
    return error


def run_clip(step: Step, config: MusicGenConfig, frames: int, seed: int) -> tuple[Array, float]:
    """Generate a clip. Returns: codes (codebooks, frames), and the seconds in `step` alone."""
    decoder = config.decoder
    books, draws = np.arange(decoder.codebooks), np.random.default_rng(seed)
    column = np.full(decoder.codebooks, decoder.start_token, np.int64)
    columns, seconds = [], 0.0
    for position in range(frames + decoder.codebooks - 1):
        started = time.perf_counter()
        logits = step(column, position)
        seconds += time.perf_counter() - started
        sampled = _sample(logits[1] + GUIDANCE * (logits[0] - logits[1]), draws)
        is_known = (position < books) | (position >= books + frames)
        column = np.where(is_known, decoder.start_token, sampled)
        columns.append(column)
    delayed = np.stack(columns, axis=1)
    return np.stack([delayed[k, k : k + frames] for k in books]), seconds


def _sample(logits: Array, draws: np.random.Generator) -> Array:
    """Draw one of the TOP_K best tokens of every codebook, from logits (codebooks, vocabulary)."""
    top = min(TOP_K, logits.shape[1])
    best = np.argpartition(logits, -top, axis=1)[:, -top:]
    scores = np.take_along_axis(logits, best, axis=1) + draws.gumbel(size=best.shape)
    return np.take_along_axis(best, scores.argmax(1)[:, None], axis=1)[:, 0]
