"""EnCodec's decoder on codes that arrive piece by piece; the pieces join to the whole decode.

Every layer keeps the few inputs that its next output still needs: a convolution the end of what it
has seen, the LSTM its state. Nothing is computed twice, and what comes out lags behind what went in
only by what the convolutions see of the future.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.encodec import (
    Codec,
    Conv,
    ConvTranspose,
    ResidualBlock,
    ResidualLSTM,
    avoid_slow_convolutions,
)

PIECE_FRAMES = {"cpu": 50, "cuda": 250}
"""Of a whole clip. Its activations are a hundred times larger than its sound: in pieces they take
little memory, and on a processor stay in its cache."""


class CodecStream:
    """Decodes the codes of one clip; stereo runs the mono codec for each side, as a whole does."""

    def __init__(self, codec: Codec, channels: int) -> None:
        self._sides = [_MonoStream(codec) for _ in range(channels)]

    @torch.inference_mode()
    def push(self, codes: Tensor, last: bool) -> Tensor:
        """The next codes (codebooks, frames) to the samples they make certain.

        Returns: (channels, samples), possibly none; with `last` all that remain.
        """
        step = len(self._sides)
        return torch.cat([mono.push(codes[i::step], last) for i, mono in enumerate(self._sides)])


def decode_in_pieces(codec: Codec, codes: Tensor, channels: int) -> Tensor:
    """All codes (codebooks, frames) of a clip to its samples (channels, samples)."""
    return torch.cat(list(decode_pieces(codec, codes, channels)), 1)


def decode_pieces(codec: Codec, codes: Tensor, channels: int) -> Iterator[Tensor]:
    """The samples of `decode_in_pieces` one after another, each made when it is asked for."""
    stream = CodecStream(codec, channels)
    pieces = torch.split(codes, PIECE_FRAMES[codes.device.type], dim=1)
    for index, piece in enumerate(pieces):
        yield stream.push(piece, index == len(pieces) - 1)


def compute_lag(codec: Codec) -> int:
    """Samples by which a stream's output is behind its input, but at the end."""
    samples, per_input = 0, codec.config.hop_length
    for layer in codec.decoder:
        if isinstance(layer, ConvTranspose):
            per_input //= layer.ratio
            samples += layer.trim_left * per_input
        elif isinstance(layer, Conv | ResidualBlock):
            conv = layer if isinstance(layer, Conv) else layer.narrow
            samples += conv.padding_right * per_input
    return samples


class _MonoStream:
    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._layers = [_make_streaming(layer) for layer in codec.decoder]

    def push(self, codes: Tensor, last: bool) -> Tensor:
        """(codebooks, frames) to (1, samples)."""
        books = self._codec.codebooks
        x = books.new_zeros(codes.shape[1], books.shape[2])
        for k in range(codes.shape[0]):
            x = x + F.embedding(codes[k], books[k])
        x = x.t()[None]
        with avoid_slow_convolutions(codes.device):
            for layer in self._layers:
                x = layer.push(x, last)
        return x[0]


class _StreamingLayer(Protocol):
    """A layer whose input (1, channels, frames) arrives in pieces, possibly of no frames.

    `push` returns the outputs that no later input can change; with `last` all that remain.
    """

    def push(self, x: Tensor, last: bool) -> Tensor: ...


def _make_streaming(layer: nn.Module) -> _StreamingLayer:
    if isinstance(layer, Conv):
        return _StreamingConv(layer)
    if isinstance(layer, ConvTranspose):
        return _StreamingConvTranspose(layer)
    if isinstance(layer, ResidualBlock):
        return _StreamingResidualBlock(layer)
    if isinstance(layer, ResidualLSTM):
        return _StreamingLSTM(layer)
    return _Pointwise(layer)


class _Pointwise:
    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer

    def push(self, x: Tensor, last: bool) -> Tensor:
        y: Tensor = self._layer(x)
        return y


class _StreamingConv:
    def __init__(self, layer: Conv) -> None:
        self._layer = layer
        self._span = layer.padding_left + layer.padding_right
        self._tail: Tensor | None = None
        self._is_padded = False

    def push(self, x: Tensor, last: bool) -> Tensor:
        layer = self._layer
        inputs = x if self._tail is None else torch.cat((self._tail, x), dim=-1)
        if not self._is_padded:
            if last and inputs.shape[-1]:
                y: Tensor = layer(inputs)
                return y
            # A reflection needs more than it mirrors.
            if inputs.shape[-1] <= max(layer.padding_left, layer.padding_right):
                self._tail = inputs
                return _make_empty(x, layer.conv.out_channels)
            inputs = F.pad(inputs, (layer.padding_left, 0), layer.pad_mode)
            self._is_padded = True
        if last:
            inputs = F.pad(inputs, (0, layer.padding_right), layer.pad_mode)
        self._tail = inputs[..., max(0, inputs.shape[-1] - self._span) :]
        if inputs.shape[-1] <= self._span:
            return _make_empty(x, layer.conv.out_channels)
        return layer.conv(inputs)


class _StreamingConvTranspose:
    """An input spreads over two blocks of `ratio` outputs: its own and the next one's."""

    def __init__(self, layer: ConvTranspose) -> None:
        self._layer = layer
        self._tail: Tensor | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        layer, is_first = self._layer, self._tail is None
        inputs = x if self._tail is None else torch.cat((self._tail, x), dim=-1)
        if not inputs.shape[-1]:
            return _make_empty(x, layer.conv.out_channels)
        self._tail = inputs[..., -1:]
        y = layer.conv(inputs)
        start = layer.trim_left if is_first else layer.ratio
        stop = y.shape[-1] - (layer.trim_right if last else layer.ratio)
        return y[..., start:stop]


class _StreamingResidualBlock:
    """The way around the convolution waits for what the convolution holds back."""

    def __init__(self, layer: ResidualBlock) -> None:
        self._layer = layer
        self._narrow = _StreamingConv(layer.narrow)
        self._pending: Tensor | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        layer = self._layer
        around = x if self._pending is None else torch.cat((self._pending, x), dim=-1)
        inner = self._narrow.push(F.elu(x), last)
        ready = inner.shape[-1]
        self._pending = around[..., ready:]
        if not ready:
            return around[..., :0]
        y: Tensor = layer.shortcut(around[..., :ready]) + layer.widen(F.elu(inner))
        return y


class _StreamingLSTM:
    def __init__(self, layer: ResidualLSTM) -> None:
        self._lstm = layer.lstm
        self._state: tuple[Tensor, Tensor] | None = None

    def push(self, x: Tensor, last: bool) -> Tensor:
        if not x.shape[-1]:
            return x
        steps = x.permute(2, 0, 1)
        y, self._state = self._lstm(steps, self._state)
        return (y + steps).permute(1, 2, 0)


def _make_empty(x: Tensor, channels: int) -> Tensor:
    return x.new_zeros(x.shape[0], channels, 0)
