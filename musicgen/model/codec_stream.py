"""EnCodec's decoder on codes that arrive piece by piece; the pieces join to the whole decode.

Convolutions see a few frames to either side, so a piece is decoded with its neighbours and
cropped; the LSTM sees all of the past and none of the future, so its state is carried. What comes
out lags `lookahead` frames behind what went in.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musicgen.model.encodec import (
    Codec,
    Conv,
    ConvTranspose,
    ResidualBlock,
    ResidualLSTM,
    no_slow_convolutions,
)


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


class _MonoStream:
    def __init__(self, codec: Codec) -> None:
        first, lstm, *rest = codec.decoder
        assert isinstance(lstm, ResidualLSTM)
        self._codec = codec
        self._lstm = lstm.lstm
        self._state: tuple[Tensor, Tensor] | None = None
        self._first = _Windowed(first, _reach([first]), 1)
        self._rest = _Windowed(nn.Sequential(*rest), _reach(rest), codec.config.hop_length)

    def push(self, codes: Tensor, last: bool) -> Tensor:
        """(codebooks, frames) to (1, samples)."""
        embedded = torch.zeros((), device=codes.device)
        for k in range(codes.shape[0]):
            embedded = embedded + F.embedding(codes[k], self._codec.codebooks[k])
        hidden = self._first.push(embedded.t()[None] if codes.shape[1] else None, last)
        if hidden is not None:
            steps = hidden.permute(2, 0, 1)
            recurrent, self._state = self._lstm(steps, self._state)
            hidden = (recurrent + steps).permute(1, 2, 0)
        with no_slow_convolutions(codes.device):
            waveform = self._rest.push(hidden, last)
        return self._codec.codebooks.new_zeros(1, 0) if waveform is None else waveform[0]


class _Windowed:
    """`layers`, whose output at a frame depends on `reach` frames to either side, in pieces.

    The padding that they add at the end of a window is wrong anywhere but at the clip's own ends,
    and stays within the part that is cropped.
    """

    def __init__(self, layers: Callable[[Tensor], Tensor], reach: int, ratio: int) -> None:
        self._layers = layers
        self._reach = reach
        self._ratio = ratio
        self._window: Tensor | None = None
        self._start = 0
        self._done = 0

    def push(self, x: Tensor | None, last: bool) -> Tensor | None:
        """(1, channels, frames) to (1, channels, frames * ratio) of the frames now certain.

        None stands for no frames, on either side.
        """
        known = [piece for piece in (self._window, x) if piece is not None]
        if not known:
            return None
        window = torch.cat(known, dim=-1)
        end = self._start + window.shape[-1]
        until = end if last else max(end - self._reach, self._done)
        if until == self._done:
            self._window = window
            return None
        first, stop = ((frame - self._start) * self._ratio for frame in (self._done, until))
        y = self._layers(window)[..., first:stop]
        start = max(self._start, until - self._reach)
        self._window = window[..., start - self._start :]
        self._start, self._done = start, until
        return y


def lookahead(codec: Codec) -> int:
    """Frames that must be known beyond one to decode it."""
    first, _, *rest = codec.decoder
    return _reach([first]) + _reach(rest)


def _reach(layers: list[nn.Module]) -> int:
    """Frames to either side that the samples of one frame depend on: their first and last, traced
    back through the layers."""
    upsampled = math.prod(each.ratio for each in layers if isinstance(each, ConvTranspose))
    first, last = 0, upsampled - 1
    for layer in reversed(layers):
        if isinstance(layer, ConvTranspose):
            first = (first + layer.trim_left) // layer.ratio - 1
            last = (last + layer.trim_left) // layer.ratio
        elif isinstance(layer, Conv | ResidualBlock):
            conv = layer if isinstance(layer, Conv) else layer.narrow
            first, last = first - conv.padding_left, last + conv.padding_right
        # At the clip's beginning what lies before it is mirrored.
        last = max(last, -first)
    return max(last, -first)
