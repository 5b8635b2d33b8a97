"""Streaming EnCodec decoder: pieces of codes in, pieces of audio out, equal to the whole decode.

Every layer keeps the inputs its next output needs: a convolution the tail of its input, the LSTM
its state. Nothing is computed twice. The output lags behind the input only by the lookahead of the
convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from musicgen.model.memory import PIECE_FRAMES


class CodecStream:
    """Streaming decoder of one clip; stereo runs the mono codec once per channel.

    `push_side`: in place of `MonoStream.push`.
    """

    def __init__(
        self,
        codec: Codec,
        channels: int,
        push_side: Callable[[MonoStream, Tensor, bool], Tensor] | None = None,
    ) -> None:
        self._sides = [MonoStream(codec) for _ in range(channels)]
        self._push = push_side or MonoStream.push

    @torch.inference_mode()
    def push(self, codes: Tensor, last: bool) -> Tensor:
        """Decode the next codes (codebooks, frames).

        Returns: the samples no later code can change (channels, samples), possibly none; with
        `last` all remaining samples.
        """
        step = len(self._sides)
        sides = [self._push(mono, codes[i::step], last) for i, mono in enumerate(self._sides)]
        return torch.cat(sides)


def decode_in_pieces(codec: Codec, codes: Tensor, channels: int) -> Tensor:
    """Decode all codes (codebooks, frames) of a clip to samples (channels, samples)."""
    return torch.cat(list(decode_pieces(codec, codes, channels)), 1)


def decode_pieces(codec: Codec, codes: Tensor, channels: int) -> Iterator[Tensor]:
    """Decode a clip lazily, piece by piece; the pieces join to the result of `decode_in_pieces`."""
    stream = CodecStream(codec, channels)
    pieces = torch.split(codes, PIECE_FRAMES[codes.device.type], dim=1)
    for index, piece in enumerate(pieces):
        yield stream.push(piece, index == len(pieces) - 1)


def compute_lag(codec: Codec) -> int:
    """Return the samples by which a stream's output lags behind its input before the end."""
    samples, per_input = 0, codec.config.hop_length
    for layer in codec.decoder:
        if isinstance(layer, ConvTranspose):
            per_input //= layer.ratio
            samples += layer.trim_left * per_input
        elif isinstance(layer, Conv | ResidualBlock):
            conv = layer if isinstance(layer, Conv) else layer.narrow
            samples += conv.padding_right * per_input
    return samples


class MonoStream:
    """Streaming decoder of one channel."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._layers = [_make_streaming(layer) for layer in codec.decoder]

    @property
    def state(self) -> tuple[Tensor, ...]:
        """All that later pieces need of earlier ones."""
        return tuple(tensor for layer in self._layers for tensor in layer.state)

    def set_state(self, tensors: Sequence[Tensor]) -> None:
        """Replace the state by one of the same shapes."""
        rest = list(tensors)
        for layer in self._layers:
            count = len(layer.state)
            layer.state, rest = tuple(rest[:count]), rest[count:]

    @property
    def is_steady(self) -> bool:
        """Whether all beginnings are over: equal pieces are then computed alike, but for the last.

        Two steady streams with state of equal shapes compute the same from equal state.
        """
        return all(layer.is_steady for layer in self._layers)

    def push(self, codes: Tensor, last: bool) -> Tensor:
        """Decode codes (codebooks, frames) to samples (1, samples)."""
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
    """Layer with input (1, channels, frames) in pieces, possibly of no frames."""

    state: tuple[Tensor, ...]

    @property
    def is_steady(self) -> bool:
        """Whether the padding or the initial state of the beginning is used up."""
        ...

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Return the outputs no later input can change; with `last` all remaining outputs."""
        ...


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
    is_steady = True

    def __init__(self, layer: nn.Module) -> None:
        self._layer = layer
        self.state: tuple[Tensor, ...] = ()

    def push(self, x: Tensor, last: bool) -> Tensor:
        y: Tensor = self._layer(x)
        return y


class _StreamingConv:
    """Convolution: its state is the tail of its input."""

    def __init__(self, layer: Conv) -> None:
        self._layer = layer
        self._span = layer.padding_left + layer.padding_right
        self.state: tuple[Tensor, ...] = ()
        self.is_steady = False

    def push(self, x: Tensor, last: bool) -> Tensor:
        layer = self._layer
        inputs = torch.cat((*self.state, x), dim=-1)
        if not self.is_steady:
            if last and inputs.shape[-1]:
                y: Tensor = layer(inputs)
                return y
            # Reflect padding needs more samples than it mirrors.
            if inputs.shape[-1] <= max(layer.padding_left, layer.padding_right):
                self.state = (inputs,)
                return _make_empty(x, layer.conv.out_channels)
            inputs = F.pad(inputs, (layer.padding_left, 0), layer.pad_mode)
            self.is_steady = True
        if last:
            inputs = F.pad(inputs, (0, layer.padding_right), layer.pad_mode)
        self.state = (inputs[..., max(0, inputs.shape[-1] - self._span) :],)
        if inputs.shape[-1] <= self._span:
            return _make_empty(x, layer.conv.out_channels)
        return layer.conv(inputs)


class _StreamingConvTranspose:
    """Transposed convolution: an input adds to its own `ratio` outputs and the next ones."""

    def __init__(self, layer: ConvTranspose) -> None:
        self._layer = layer
        self.state: tuple[Tensor, ...] = ()

    @property
    def is_steady(self) -> bool:
        return bool(self.state)

    def push(self, x: Tensor, last: bool) -> Tensor:
        layer, is_first = self._layer, not self.state
        inputs = torch.cat((*self.state, x), dim=-1)
        if not inputs.shape[-1]:
            return _make_empty(x, layer.conv.out_channels)
        self.state = (inputs[..., -1:],)
        y = layer.conv(inputs)
        start = layer.trim_left if is_first else layer.ratio
        stop = y.shape[-1] - (layer.trim_right if last else layer.ratio)
        return y[..., start:stop]


class _StreamingResidualBlock:
    """Residual block: the shortcut waits until the convolution has produced the same frames."""

    def __init__(self, layer: ResidualBlock) -> None:
        self._layer = layer
        self._narrow = _StreamingConv(layer.narrow)
        self._pending: tuple[Tensor, ...] = ()

    @property
    def state(self) -> tuple[Tensor, ...]:
        return (*self._pending, *self._narrow.state)

    @state.setter
    def state(self, tensors: tuple[Tensor, ...]) -> None:
        pending = len(self._pending)
        self._pending, self._narrow.state = tensors[:pending], tensors[pending:]

    @property
    def is_steady(self) -> bool:
        return self._narrow.is_steady

    def push(self, x: Tensor, last: bool) -> Tensor:
        layer = self._layer
        around = torch.cat((*self._pending, x), dim=-1)
        inner = self._narrow.push(F.elu(x), last)
        ready = inner.shape[-1]
        self._pending = (around[..., ready:],)
        if not ready:
            return around[..., :0]
        y: Tensor = layer.shortcut(around[..., :ready]) + layer.widen(F.elu(inner))
        return y


class _StreamingLSTM:
    def __init__(self, layer: ResidualLSTM) -> None:
        self._lstm = layer.lstm
        self.state: tuple[Tensor, ...] = ()

    @property
    def is_steady(self) -> bool:
        return bool(self.state)

    def push(self, x: Tensor, last: bool) -> Tensor:
        if not x.shape[-1]:
            return x
        steps = x.permute(2, 0, 1)
        y, self.state = self._lstm(steps, self.state or None)
        return (y + steps).permute(1, 2, 0)


def _make_empty(x: Tensor, channels: int) -> Tensor:
    return x.new_zeros(x.shape[0], channels, 0)
