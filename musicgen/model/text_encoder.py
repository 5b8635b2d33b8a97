"""The T5 encoder of prompts (Raffel et al. 2020, section 2.1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.config import TextEncoderConfig
from musicgen.model.layers import Embedding, Linear, build_additive_mask, get_activation


class TextEncoder(nn.Module):
    """T5 encoder from tokens (batch, length) to states (batch, length, hidden_size).

    Prompts are encoded one at a time or at equal length, so the states of a prompt never depend on
    the rest of the batch.
    """

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.position_bias = PositionBias(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)

    def forward(self, tokens: Tensor, allowed: Tensor | None = None) -> Tensor:
        """Encode tokens (batch, length). `allowed` is false at padding (batch, length)."""
        bias = self.position_bias(tokens.shape[1])
        if allowed is not None:
            bias = bias + build_additive_mask(allowed[:, None, None], bias.dtype)
        x = self.embedding(tokens).float()
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)


class Block(nn.Module):
    """Pre-norm encoder layer: self-attention and feed-forward."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.ffn = FeedForward(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Run `x` (batch, length, hidden_size) through the layer."""
        x = x + self.attention(self.attention_norm(x), bias)
        return x + self.ffn(self.ffn_norm(x))


class Attention(nn.Module):
    """Self-attention without scaling: T5 folds the scale into its weights' initialisation."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_dim
        self.heads = config.heads
        self.qkv = Linear(config.hidden_size, 3 * inner)
        self.out = Linear(inner, config.hidden_size)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Attend within `x` (batch, length, hidden_size); `bias` is added to the scores."""
        batch, length, _ = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, -1))


class FeedForward(nn.Module):
    """Feed-forward network, optionally gated."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.up = Linear(config.hidden_size, config.ffn_size)
        self.gate = Linear(config.hidden_size, config.ffn_size) if config.gated else None
        self.down = Linear(config.ffn_size, config.hidden_size)
        self.activation = get_activation(config.activation)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (..., hidden_size) through the network."""
        if self.gate is None:
            return self.down(self.activation(self.up(x)))
        return self.down(self.activation(self.gate(x)) * self.up(x))


class RMSNorm(nn.Module):
    """Scale by the root mean square, without mean and bias (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size), requires_grad=False)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (..., size)."""
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class PositionBias(nn.Module):
    """Learned bias per head and bucket of relative position, shared by all layers."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.buckets = config.bias_buckets
        self.max_distance = config.bias_max_distance
        self.weight = nn.Parameter(torch.empty(self.buckets, config.heads), requires_grad=False)

    def forward(self, length: int) -> Tensor:
        """Return the bias (1, heads, length, length) of the attention scores."""
        position = torch.arange(length, device=self.weight.device)
        bucket = self._find_buckets(position[None, :] - position[:, None])
        return self.weight[bucket].permute(2, 0, 1)[None]

    def _find_buckets(self, distance: Tensor) -> Tensor:
        """Return the bucket of each distance.

        Each direction has half of the buckets: exact distances first, then logarithmic ones.
        """
        per_side = self.buckets // 2
        exact = per_side // 2
        far = distance.abs().clamp(min=1).float()
        logarithmic = torch.log(far / exact) / math.log(self.max_distance / exact)
        large = (exact + (logarithmic * (per_side - exact)).long()).clamp(max=per_side - 1)
        side = (distance > 0).long() * per_side
        return side + torch.where(distance.abs() < exact, distance.abs(), large)
