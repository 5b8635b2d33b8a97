"""The autoregressive transformer over audio codes (Copet et al. 2023), built for decoding.

A step is cheap because query, key and value are one product, the output heads of all codebooks are
one product, and cross-attention keys and values are computed once per prompt. Rows without a prompt
skip cross-attention: MusicGen attends to zero vectors there, their keys and values are zero, and
the block adds exactly zero.

Requests are decoded together in one batch. Their rows share every product with weights, while each
request attends to its own KV cache at its own length, so requests of different lengths need no
padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model import positions
from musicgen.model.config import DecoderConfig
from musicgen.model.layers import LayerNorm, Linear, attend, get_activation
from musicgen.model.upload import upload


class KVCache(Protocol):
    """KV cache of self-attention.

    `keys`, `values`: (layers, rows, heads, capacity, head_dim), of which `length` steps are filled.
    """

    keys: Tensor
    values: Tensor
    length: int

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (rows, heads, new, head_dim); return keys and values of all steps so far."""
        ...


@dataclass(frozen=True)
class CrossAttentionCache:
    """Keys and values of the prompts, for the first `rows` rows of a segment.

    `keys`, `values`: (layers, rows, heads, tokens, head_dim). `lengths`: tokens of each prompt.
    `mask`: (rows, 1, 1, tokens), see `attend`; None when no prompt is padded.
    """

    keys: Tensor
    values: Tensor
    lengths: tuple[int, ...]
    mask: Tensor | None

    @property
    def rows(self) -> int:
        """Number of rows with a prompt."""
        return self.keys.shape[1]


@dataclass(frozen=True)
class Segment:
    """Consecutive rows of a batch that belong to one request.

    Rows of different segments share only the products with weights. `mask`: (rows or 1, 1, length,
    steps so far), see `attend`; None without restriction. `padding`: the same as
    numbers of padded steps at the beginning of each row.
    """

    rows: slice
    cache: KVCache
    cross: CrossAttentionCache | None
    mask: Tensor | None = None
    padding: tuple[int, ...] | None = None


class FusedStep(Protocol):
    """Replacement for all layers in one call.

    `cache_dtype` is the type of its keys and values, `prompt_dtype` that of prompts for
    cross-attention.
    """

    cache_dtype: torch.dtype
    prompt_dtype: torch.dtype

    def __call__(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Run `x` (rows, length, hidden) through all layers and the final norm."""
        ...


class Decoder(nn.Module):
    """Decoder-only transformer with one output head per codebook. It has no dropout."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        tokens = config.codebooks * (config.vocab_size + 1)
        self.embeddings = nn.Parameter(torch.empty(tokens, config.hidden_size), False)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = LayerNorm(config.hidden_size)
        self.heads = Linear(config.hidden_size, config.codebooks * config.vocab_size)
        self.native: FusedStep | None = None

    @property
    def cache_dtype(self) -> torch.dtype:
        """Type of keys and values; int8 ones have the layout of the native library."""
        return self.embeddings.dtype if self.native is None else self.native.cache_dtype

    @property
    def prompt_dtype(self) -> torch.dtype:
        """Type of a prompt's keys and values for cross-attention."""
        return self.embeddings.dtype if self.native is None else self.native.prompt_dtype

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed tokens (rows, codebooks, length) and sum over codebooks: (rows, length, hidden)."""
        books = torch.arange(self.config.codebooks, device=tokens.device)
        offsets = books[:, None] * (self.config.vocab_size + 1)
        vectors = F.embedding(tokens + offsets, self.embeddings)
        if vectors.device.type != "cpu":
            return vectors.sum(dim=1)
        # One book after the other, as the native library adds them: the sum of eight books would
        # round otherwise, and with int8 weights a rounding may become another token.
        x = vectors[:, 0]
        for k in range(1, self.config.codebooks):
            x = x + vectors[:, k]
        return x

    def forward(
        self,
        x: Tensor,
        cache: KVCache,
        cross: CrossAttentionCache | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Run `forward_batch` on a single segment of all rows."""
        return self.forward_batch(x, [Segment(slice(0, len(x)), cache, cross, mask)])

    def forward_batch(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Run embedded steps, with positions added, through all layers and the final norm.

        `x`: (rows, length, hidden); the result has the same shape. `segments` cover the rows in
        order.
        """
        if self.native is not None:
            return self.native(x, segments)
        for index, layer in enumerate(self.layers):
            x = layer(x, index, segments)
        return self.norm(x)

    def compute_logits(self, hidden: Tensor) -> Tensor:
        """Compute float32 logits (rows, codebooks, vocab_size) of hidden states (rows, hidden)."""
        flat = self.heads(hidden).float()
        return flat.view(-1, self.config.codebooks, self.config.vocab_size)

    def build_cross_attention_cache(
        self, states: Tensor, lengths: Sequence[int] | None = None
    ) -> CrossAttentionCache:
        """Compute keys and values of encoded prompts (rows, tokens, hidden), once per request.

        `lengths`: tokens of each prompt; None when no prompt is padded.
        """
        blocks = [cast(DecoderLayer, layer).cross_attention for layer in self.layers]
        pairs = [block.project_keys_values(states) for block in blocks]
        keys, values = (
            torch.stack(tensors).to(self.prompt_dtype) for tensors in zip(*pairs, strict=True)
        )
        rows, tokens = states.shape[:2]
        if lengths is None or min(lengths) == tokens:
            return CrossAttentionCache(keys, values, (tokens,) * rows, None)
        ends = upload(lengths, states.device)
        mask = torch.arange(tokens, device=states.device) < ends[:, None]
        return CrossAttentionCache(keys, values, tuple(lengths), mask[:, None, None])


class DecoderLayer(nn.Module):
    """Pre-norm layer: self-attention, optional cross-attention, feed-forward."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.self_attention_norm = LayerNorm(size)
        self.self_attention = SelfAttention(config)
        if config.cross_attention:
            self.cross_attention_norm = LayerNorm(size)
            self.cross_attention = CrossAttention(config)
        self.ffn_norm = LayerNorm(size)
        self.up = Linear(size, config.ffn_size)
        self.down = Linear(config.ffn_size, size)
        self.activation = get_activation(config.activation)

    def forward(self, x: Tensor, index: int, segments: Sequence[Segment]) -> Tensor:
        """Run `x` (rows, length, hidden) through layer number `index`."""
        x = x + self.self_attention(self.self_attention_norm(x), index, segments)
        prompted = [segment for segment in segments if segment.cross is not None]
        if prompted:
            self._attend_to_prompts(x, index, prompted)
        return x + self.down(self.activation(self.up(self.ffn_norm(x))))

    def _attend_to_prompts(self, x: Tensor, index: int, segments: Sequence[Segment]) -> None:
        """Add cross-attention in place to the rows with a prompt: the first of each segment."""
        states = [segment.cross for segment in segments if segment.cross is not None]
        parts = [
            x[segment.rows][: cross.rows] for segment, cross in zip(segments, states, strict=True)
        ]
        added = self.cross_attention(self.cross_attention_norm(_concatenate(parts)), index, states)
        for part, more in zip(
            parts, torch.split(added, [len(part) for part in parts]), strict=True
        ):
            part += more


class SelfAttention(nn.Module):
    """Causal self-attention over the KV cache."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.qkv = Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, layer: int, segments: Sequence[Segment]) -> Tensor:
        """Append to the KV caches and attend to them, segment by segment."""
        query, key, value = (_split_heads(part, self.head_dim) for part in self.qkv(x).chunk(3, -1))
        mixed = []
        for segment in segments:
            keys, values = segment.cache.update(layer, key[segment.rows], value[segment.rows])
            mixed.append(attend(query[segment.rows], keys, values, segment.mask))
        return self.out(_join_heads(_concatenate(mixed)))


class CrossAttention(nn.Module):
    """Attention to the encoded prompts."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        self.query = Linear(config.hidden_size, config.hidden_size)
        self.key_value = Linear(config.hidden_size, 2 * config.hidden_size)
        self.out = Linear(config.hidden_size, config.hidden_size)

    def project_keys_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Project states (rows, tokens, hidden) to (rows, heads, tokens, head_dim)."""
        key, value = self.key_value(states).chunk(2, -1)
        return _split_heads(key, self.head_dim), _split_heads(value, self.head_dim)

    def forward(self, x: Tensor, layer: int, prompts: Sequence[CrossAttentionCache]) -> Tensor:
        """Attend from `x` (rows of all prompts, length, hidden) to `prompts`, in order."""
        query = _split_heads(self.query(x), self.head_dim)
        mixed = [
            attend(part, cross.keys[layer], cross.values[layer], cross.mask)
            for part, cross in zip(
                torch.split(query, [c.rows for c in prompts]), prompts, strict=True
            )
        ]
        return self.out(_join_heads(_concatenate(mixed)))


def build_sinusoidal_positions(length: int, size: int) -> Tensor:
    """Return position embeddings (length, size) in float32, see `musicgen.model.positions`."""
    return torch.from_numpy(positions.build_sinusoidal_positions(length, size))


def _split_heads(x: Tensor, head_dim: int) -> Tensor:
    return x.view(*x.shape[:-1], -1, head_dim).transpose(1, 2)


def _join_heads(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _concatenate(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
