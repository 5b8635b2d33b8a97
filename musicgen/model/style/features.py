"""MERT's features of music (Li et al. 2023): HuBERT's network (Hsu et al. 2021).

A stack of convolutions reads the waveform, a transformer with post-norm reads its frames. The
network is that of wav2vec 2.0 (Baevski et al. 2020), section 2, in its base size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.layers import Affine, Conv1d, LayerNorm, attend
from musicgen.model.style.config import FeatureConfig

GROUP_NORM_EPS = 1e-5


class FeatureExtractor(nn.Module):
    """MERT from samples (1, samples) to the last layer's states (1, frames, hidden_size)."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        inputs = (1, *config.conv_sizes[:-1])
        self.convolutions = nn.ModuleList(
            Conv1d(size, to, kernel, stride, bias=config.conv_bias)
            for size, to, kernel, stride in zip(
                inputs, config.conv_sizes, config.conv_kernels, config.conv_strides, strict=True
            )
        )
        self.channel_norm = ChannelNorm(config.conv_sizes[0])
        self.projection_norm = LayerNorm(config.conv_sizes[-1], config.norm_eps)
        self.projection = Affine(config.conv_sizes[-1], config.hidden_size)
        self.position_kernel = config.position_kernel
        self.positions = Conv1d(
            config.hidden_size,
            config.hidden_size,
            config.position_kernel,
            padding=config.position_kernel // 2,
            groups=config.position_groups,
        )
        self.norm = LayerNorm(config.hidden_size, config.norm_eps)
        self.layers = nn.ModuleList(FeatureLayer(config) for _ in range(config.layers))

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the states of `samples` at MERT's rate."""
        x = samples[:, None]
        for index, convolution in enumerate(self.convolutions):
            x = convolution(x)
            x = F.gelu(self.channel_norm(x) if index == 0 else x)
        x = self.projection(self.projection_norm(x.transpose(1, 2)))
        # An even kernel makes one frame too many.
        places = self.positions(x.transpose(1, 2))[..., : x.shape[1]]
        x = self.norm(x + F.gelu(places).transpose(1, 2))
        for layer in self.layers:
            x = layer(x)
        return x


class ChannelNorm(nn.Module):
    """Normalization of each channel over time (group norm with a group per channel)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(channels), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (batch, channels, length)."""
        return F.group_norm(x, len(self.weight), self.weight, self.bias, GROUP_NORM_EPS)


class FeatureLayer(nn.Module):
    """Transformer layer with the norm after each addition."""

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.heads = config.heads
        self.qkv = Affine(size, 3 * size)
        self.out = Affine(size, size)
        self.attention_norm = LayerNorm(size, config.norm_eps)
        self.up = Affine(size, config.ffn_size)
        self.down = Affine(config.ffn_size, size)
        self.norm = LayerNorm(size, config.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, length, hidden) through the layer."""
        x = self.attention_norm(x + self.out(attend_to_itself(self.qkv(x), self.heads)))
        return self.norm(x + self.down(F.gelu(self.up(x))))


def attend_to_itself(qkv: Tensor, heads: int) -> Tensor:
    """Attend in both directions; `qkv` is (batch, length, 3 * hidden)."""
    query, key, value = (
        part.view(*part.shape[:-1], heads, -1).transpose(1, 2) for part in qkv.chunk(3, -1)
    )
    return attend(query, key, value, None).transpose(1, 2).flatten(2)
