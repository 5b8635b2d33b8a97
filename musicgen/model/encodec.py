"""EnCodec, MusicGen's audio tokenizer (Défossez et al. 2022): codes to waveform and back.

Weight normalization is folded into plain weights when a checkpoint is read.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.config import CodecConfig
from musicgen.model.layers import LSTM, Conv1d, ConvTranspose1d

_PREPARES_EVERY_LENGTH = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6)


class Codec(nn.Module):
    """Encoder, residual vector quantizer and decoder; one frame is `hop_length` samples."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _build_encoder(config)
        self.decoder = _build_decoder(config)
        shape = (config.codebooks, config.codebook_size, config.codebook_dim)
        self.codebooks = nn.Parameter(torch.empty(shape), requires_grad=False)

    def fingerprint(self) -> str:
        """Hash the codebooks: equal for codecs with interchangeable tokens."""
        books = self.codebooks.detach().float().cpu().contiguous()
        return hashlib.sha256(books.numpy().tobytes()).hexdigest()[:32]

    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (batch, codebooks, frames) to (batch, channels, frames * hop_length)."""
        latents = self.embed(codes)
        with avoid_slow_convolutions(latents.device):
            return self.decoder(latents)

    def embed(self, codes: Tensor) -> Tensor:
        """Sum the vectors of codes (batch, codebooks, frames) to latents (batch, size, frames)."""
        vectors = torch.zeros((), device=codes.device)
        for k in range(codes.shape[1]):
            vectors = vectors + F.embedding(codes[:, k], self.codebooks[k])
        return vectors.transpose(1, 2)

    def encode(self, waveform: Tensor) -> Tensor:
        """Encode a waveform (batch, channels, samples) to codes (batch, codebooks, frames).

        There are ceil(samples / hop_length) frames. Each codebook quantizes the residual of the
        ones before it.
        """
        residual = self.encoder(waveform).transpose(1, 2)
        codes = []
        for book in self.codebooks:
            index = _find_nearest(residual, book)
            residual = residual - F.embedding(index, book)
            codes.append(index)
        return torch.stack(codes, dim=1)


@contextmanager
def avoid_slow_convolutions(device: torch.device) -> Iterator[None]:
    """Disable oneDNN on a CPU with torch before 2.6.

    There oneDNN prepares a transposed convolution again for every length, a hundred times slower
    than the convolution itself.
    """
    if device.type != "cpu" or not _PREPARES_EVERY_LENGTH:
        yield
        return
    with torch.backends.mkldnn.flags(enabled=False):
        yield


def decode_channels(codec: Codec, codes: Tensor, channels: int) -> Tensor:
    """Decode the codes of a mono or interleaved stereo model to (batch, channels, samples).

    Stereo MusicGen runs the mono codec once per channel; its codebooks alternate left and right.
    """
    if channels == 1:
        return codec.decode(codes)
    sides = [codec.decode(codes[:, side::channels]) for side in range(channels)]
    return torch.cat(sides, dim=1)


def encode_channels(codec: Codec, waveform: Tensor) -> Tensor:
    """Encode (batch, channels, samples) to interleaved codes, the inverse of `decode_channels`."""
    sides = [codec.encode(waveform[:, side : side + 1]) for side in range(waveform.shape[1])]
    return torch.stack(sides, dim=2).flatten(1, 2)


def _find_nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Return the index (batch, frames) of the nearest entry by squared Euclidean distance."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    distance = flat.pow(2).sum(1, keepdim=True) - 2 * flat @ book.t() + book.pow(2).sum(1)
    return distance.argmin(dim=-1).view(vectors.shape[:-1])


def _build_encoder(config: CodecConfig) -> nn.Sequential:
    width = config.filters
    layers: list[nn.Module] = [Conv(config, config.channels, width, config.kernel_size)]
    for ratio in reversed(config.ratios):
        layers += _build_residual_blocks(config, width)
        layers += [nn.ELU(), Conv(config, width, 2 * width, 2 * ratio, stride=ratio)]
        width *= 2
    layers += [ResidualLSTM(width, config.lstm_layers), nn.ELU()]
    layers += [Conv(config, width, config.hidden_size, config.last_kernel_size)]
    return nn.Sequential(*layers)


def _build_decoder(config: CodecConfig) -> nn.Sequential:
    width = config.filters * 2 ** len(config.ratios)
    layers: list[nn.Module] = [Conv(config, config.hidden_size, width, config.kernel_size)]
    layers += [ResidualLSTM(width, config.lstm_layers)]
    for ratio in config.ratios:
        layers += [nn.ELU(), ConvTranspose(config, width, width // 2, ratio)]
        width //= 2
        layers += _build_residual_blocks(config, width)
    layers += [nn.ELU(), Conv(config, width, config.channels, config.last_kernel_size)]
    return nn.Sequential(*layers)


def _build_residual_blocks(config: CodecConfig, width: int) -> list[nn.Module]:
    return [
        ResidualBlock(config, width, config.dilation_growth**level)
        for level in range(config.residual_layers)
    ]


class Conv(nn.Module):
    """Convolution with output length / stride: reflect padding, all on the left if causal."""

    def __init__(
        self,
        config: CodecConfig,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.conv = Conv1d(inputs, outputs, kernel, stride, dilation=dilation)
        self.pad_mode = config.pad_mode
        self.stride = stride
        padding = (kernel - 1) * dilation + 1 - stride
        self.padding_right = 0 if config.causal else padding // 2
        self.padding_left = padding - self.padding_right

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve `x` (batch, inputs, length)."""
        missing = -x.shape[-1] % self.stride
        return self.conv(_pad(x, self.padding_left, self.padding_right + missing, self.pad_mode))


class ConvTranspose(nn.Module):
    """Transposed convolution, the mirror of a strided `Conv`: multiplies the length by `ratio`."""

    def __init__(self, config: CodecConfig, inputs: int, outputs: int, ratio: int) -> None:
        super().__init__()
        self.conv = ConvTranspose1d(inputs, outputs, 2 * ratio, ratio)
        self.ratio = ratio
        if config.causal:
            self.trim_right = math.ceil(ratio * config.trim_right_ratio)
        else:
            self.trim_right = ratio // 2
        self.trim_left = ratio - self.trim_right

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `x` (batch, inputs, length) and trim the result."""
        y = self.conv(x)
        return y[..., self.trim_left : y.shape[-1] - self.trim_right]


class ResidualBlock(nn.Module):
    """Two convolutions with a narrow middle, and a shortcut around them."""

    def __init__(self, config: CodecConfig, width: int, dilation: int) -> None:
        super().__init__()
        hidden = width // config.compress
        self.narrow = Conv(config, width, hidden, config.residual_kernel_size, dilation=dilation)
        self.widen = Conv(config, hidden, width, 1)
        self.shortcut = Conv(config, width, width, 1) if config.conv_shortcut else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, width, length) through the block."""
        return self.shortcut(x) + self.widen(F.elu(self.narrow(F.elu(x))))


class ResidualLSTM(nn.Module):
    """LSTM over time with a residual connection."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.lstm = LSTM(width, width, layers)

    def forward(self, x: Tensor) -> Tensor:
        """Run `x` (batch, width, length) through the LSTM."""
        steps = x.permute(2, 0, 1)
        return (self.lstm(steps)[0] + steps).permute(1, 2, 0)


def _pad(x: Tensor, left: int, right: int, mode: str) -> Tensor:
    if mode != "reflect":
        return F.pad(x, (left, right), mode)
    # Reflect padding needs more samples than it mirrors, so very short clips get silence first.
    short = max(0, max(left, right) - x.shape[-1] + 1)
    padded = F.pad(F.pad(x, (0, short)), (left, right), "reflect")
    return padded[..., : padded.shape[-1] - short]
