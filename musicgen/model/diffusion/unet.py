"""U-Net that estimates the noise in a sound, conditioned on EnCodec's latents.

Modules have audiocraft's names, so its weights load as they are. Source:
`audiocraft/models/unet.py` and `audiocraft/modules/transformer.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.diffusion.schedule import TRAINED_STEPS
from musicgen.model.layers import LSTM, Affine, Conv1d, ConvTranspose1d, Embedding

HEADS, LAYERS, FFN_SIZE = 8, 6, 2048
"""Sizes of the transformer; audiocraft has no settings for them."""
_MAX_PERIOD = 10_000.0


@dataclass(frozen=True)
class UnetConfig:
    """Shape of a U-Net. `codec_dim`: size of a latent. `growth`: channels per level."""

    hidden: int
    depth: int
    growth: float
    max_channels: int
    kernel: int
    stride: int
    norm_groups: int
    res_blocks: int
    emb_all_layers: bool
    bilstm: bool
    transformer: bool
    cross_attention: bool
    codec_dim: int | None
    channels: int = 1

    @property
    def widths(self) -> list[int]:
        """Channels after each level, from the sound inwards."""
        widths, width = [], self.hidden
        for _ in range(self.depth):
            widths.append(width)
            width = min(int(width * self.growth), self.max_channels)
        return widths


class Unet(nn.Module):
    """Estimate of the noise; nothing streams, and levels are normalized over the whole input."""

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        inputs = [config.channels, *widths[:-1]]
        pairs = list(zip(inputs, widths, strict=True))
        self.encoders = nn.ModuleList(LevelDown(config, *pair) for pair in pairs)
        self.decoders = nn.ModuleList(LevelUp(config, *pair) for pair in reversed(pairs))
        self.embedding = Embedding(TRAINED_STEPS, widths[0])
        deeper = widths[1:] if config.emb_all_layers else []
        self.embeddings = nn.ModuleList(Embedding(TRAINED_STEPS, width) for width in deeper)
        if config.bilstm:
            self.bilstm = BiLSTM(widths[-1])
        if config.transformer:
            self.transformer = BottleneckTransformer(widths[-1], config.cross_attention)
        if config.codec_dim is not None:
            self.conv_codec = Conv1d(config.codec_dim, widths[-1], 1)

    def forward(self, x: Tensor, step: int, condition: Tensor) -> Tensor:
        """Estimate the noise in `x` (batch, channels, samples).

        `condition`: latents (batch, codec_dim, frames).
        """
        z, skips = x, []
        index = torch.tensor([step], device=x.device)
        for level, encoder in enumerate(self.encoders):
            z = encoder(z)
            if level == 0:
                z = z + self.embedding(index)[..., None]
            elif self.config.emb_all_layers:
                z = z + self.embeddings[level - 1](index)[..., None]
            skips.append(z)
        source = None
        if self.config.codec_dim is not None:
            latents = self.conv_codec(condition)
            if self.config.transformer and self.config.cross_attention:
                source = _add_positions(latents.transpose(1, 2))
            else:
                z = z + F.interpolate(latents, z.shape[-1])
                # audiocraft adds in place, so the innermost skip connection has the latents too. A
                # model without LSTM and transformer hears its tokens by that alone.
                skips[-1] = z
        z = self._run_bottleneck(z, source)
        for decoder in self.decoders:
            skip = skips.pop()
            z = decoder(z[..., : skip.shape[-1]] + skip)
        return z[..., : x.shape[-1]]

    def _run_bottleneck(self, z: Tensor, source: Tensor | None) -> Tensor:
        if self.config.transformer:
            return self.transformer(z.transpose(1, 2), source).transpose(1, 2)
        # Without either, the sound passes by the skip connections alone.
        return self.bilstm(z) if self.config.bilstm else torch.zeros_like(z)


class ResBlock(nn.Module):
    """Two normalized convolutions with a shortcut around them."""

    def __init__(self, channels: int, groups: int, dilation: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv1 = Conv1d(channels, channels, 3, 1, dilation, dilation)
        self.norm2 = nn.GroupNorm(groups, channels)
        self.conv2 = Conv1d(channels, channels, 3, 1, dilation, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, channels, length) through the block."""
        h = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(h)))


class LevelDown(nn.Module):
    """Strided convolution; the length is rounded up to whole strides."""

    def __init__(self, config: UnetConfig, inputs: int, outputs: int) -> None:
        super().__init__()
        kernel, self.stride = config.kernel, config.stride
        padding = (kernel - self.stride) // 2
        self.conv = Conv1d(inputs, outputs, kernel, self.stride, padding, bias=False)
        self.norm = nn.GroupNorm(config.norm_groups, outputs)
        self.res_blocks = _build_blocks(config, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, inputs, length) through the layer."""
        x = F.pad(x, (0, -x.shape[-1] % self.stride))
        return self.res_blocks(F.relu(self.norm(self.conv(x))))


class LevelUp(nn.Module):
    """Transposed convolution, the mirror of `LevelDown`."""

    def __init__(self, config: UnetConfig, outputs: int, inputs: int) -> None:
        super().__init__()
        kernel, stride = config.kernel, config.stride
        self.res_blocks = _build_blocks(config, inputs)
        self.norm = nn.GroupNorm(config.norm_groups, inputs)
        padding = (kernel - stride) // 2
        self.convtr = ConvTranspose1d(inputs, outputs, kernel, stride, padding, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, inputs, length) through the layer."""
        return self.convtr(F.relu(self.norm(self.res_blocks(x))))


class BiLSTM(nn.Module):
    """LSTM in both directions, projected to its own width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lstm = LSTM(width, width, 2, bidirectional=True)
        self.linear = Affine(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, width, length) through the layers."""
        return self.linear(self.lstm(x.permute(2, 0, 1))[0]).permute(1, 2, 0)


class BottleneckTransformer(nn.Module):
    """Transformer over the whole length, with sinusoidal positions."""

    def __init__(self, width: int, cross_attention: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PostNormLayer(width, cross_attention) for _ in range(LAYERS))

    def forward(self, x: Tensor, source: Tensor | None) -> Tensor:
        """Run `x` (batch, length, width); `source` (batch, frames, width) is attended to."""
        x = _add_positions(x)
        for layer in self.layers:
            x = layer(x, source)
        return x


class PostNormLayer(nn.Module):
    """Layer with the normalization after each part."""

    def __init__(self, width: int, cross_attention: bool) -> None:
        super().__init__()
        self.self_attn = BottleneckAttention(width)
        self.linear1 = Affine(width, FFN_SIZE, bias=False)
        self.linear2 = Affine(FFN_SIZE, width, bias=False)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        if cross_attention:
            self.cross_attention = BottleneckAttention(width)
            self.norm_cross = nn.LayerNorm(width)

    def forward(self, x: Tensor, source: Tensor | None) -> Tensor:
        """Run `x` (batch, length, width) through the layer."""
        y = self.norm1(x + self.self_attn(x, x))
        if source is not None:
            # audiocraft's queries come from the layer's input, not from its self-attention.
            y = self.norm_cross(y + self.cross_attention(x, source))
        return self.norm2(y + self.linear2(F.relu(self.linear1(y))))


class BottleneckAttention(nn.Module):
    """Multi-head attention without biases, with the projections in one matrix."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width), requires_grad=False)
        self.out_proj = Affine(width, width, bias=False)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Attend from `x` (batch, length, width) to `source` (batch, frames, width)."""
        parts = zip((x, source, source), self.in_proj_weight.chunk(3), strict=True)
        query, key, value = [
            F.linear(states, weight).view(*states.shape[:2], HEADS, -1).transpose(1, 2)
            for states, weight in parts
        ]
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


def _build_blocks(config: UnetConfig, channels: int) -> nn.Sequential:
    blocks = (ResBlock(channels, config.norm_groups, 2**i) for i in range(config.res_blocks))
    return nn.Sequential(*blocks)


def _add_positions(x: Tensor) -> Tensor:
    """Add sinusoidal positions to `x` (batch, length, width)."""
    half = x.shape[-1] // 2
    positions = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None]
    dims = torch.arange(half, device=x.device, dtype=x.dtype)
    phase = positions / _MAX_PERIOD ** (dims / (half - 1))
    return x + torch.cat((phase.cos(), phase.sin()), dim=-1)
