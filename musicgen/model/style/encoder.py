"""The style encoder: features, a transformer, a residual quantizer and a lower frame rate.

The quantizer is the bottleneck: fewer codebooks keep less of the excerpt. Source: Rouard et al.
2024, "Audio Conditioning for Music Generation via Discrete Bottleneck Features", section 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.layers import Affine, LayerNorm, Linear
from musicgen.model.positions import build_sinusoidal_positions
from musicgen.model.style.config import StyleConfig
from musicgen.model.style.features import FeatureExtractor, attend_to_itself

BATCH_NORM_EPS = 1e-5


class StyleEncoder(nn.Module):
    """Style encoder from samples at MERT's rate to states of a decoder with `output_size`."""

    def __init__(self, config: StyleConfig, output_size: int) -> None:
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.features = FeatureExtractor(config.features)
        self.embedding = Affine(config.features.hidden_size, size)
        self.layers = nn.ModuleList(StyleLayer(config) for _ in range(config.layers))
        if config.has_batch_norm:
            # Frozen statistics of the training, without a scale of their own.
            self.mean = nn.Parameter(torch.empty(size), requires_grad=False)
            self.variance = nn.Parameter(torch.empty(size), requires_grad=False)
        self.codebooks = nn.Parameter(
            torch.empty(config.codebooks, config.codebook_size, size), requires_grad=False
        )
        self.projection = Affine(size, output_size)

    def forward(self, samples: Tensor, codebooks: int | None = None) -> Tensor:
        """Encode an excerpt (1, samples) through `codebooks` of the quantizer's codebooks.

        Returns: states (1, length, output_size).
        """
        x = self.embed(self.features(samples))
        return self.projection(self.quantize(x, codebooks)[:, :: self.config.stride])

    def embed(self, features: Tensor) -> Tensor:
        """Run features (1, frames, size of the features) through the transformer."""
        x = self.embedding(features)
        positions = build_sinusoidal_positions(x.shape[1], x.shape[2])
        x = x + torch.from_numpy(positions).to(x.device)
        for layer in self.layers:
            x = layer(x)
        if self.config.has_batch_norm:
            x = (x - self.mean) * torch.rsqrt(self.variance + BATCH_NORM_EPS)
        return x

    def quantize(self, x: Tensor, codebooks: int | None = None) -> Tensor:
        """Replace each of the frames (1, frames, hidden) by a sum of entries of the codebooks."""
        residual, total = x, torch.zeros_like(x)
        for book in self.codebooks[: codebooks or self.config.default_codebooks]:
            distances = book.square().sum(-1) - 2 * residual @ book.t()
            nearest = F.embedding(distances.argmin(-1), book)
            residual, total = residual - nearest, total + nearest
        return total


class StyleLayer(nn.Module):
    """Transformer layer with the norm before each part, and attention in both directions."""

    def __init__(self, config: StyleConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.heads
        self.attention_norm = LayerNorm(size)
        self.qkv = Linear(size, 3 * size)
        self.out = Linear(size, size)
        self.ffn_norm = LayerNorm(size)
        self.up = Linear(size, config.ffn_size)
        self.down = Linear(config.ffn_size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, length, hidden) through the layer."""
        x = x + self.out(attend_to_itself(self.qkv(self.attention_norm(x)), self.heads))
        return x + self.down(F.gelu(self.up(self.ffn_norm(x))))
