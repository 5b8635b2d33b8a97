"""The streaming codec on a GPU: as a CUDA graph, and in a CUDA stream of its own."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from musicgen.engine.pytorch.cuda.capture import GraphCache, select_device
from musicgen.model.codec_stream import CodecStream, MonoStream
from musicgen.model.encodec import Codec
from musicgen.model.musicgen import MusicGen

WARM_UP_PIECES = 2
"""Pieces after which a stream is steady; the first one uses up its padding."""


class CodecQueue:
    """Where the codec of a model runs, and how.

    `graphs`: run pieces of `frames` frames of a steady stream as a CUDA graph; `capture` off runs
    the same work uncaptured. `own_stream`: run in a CUDA stream beside the decode steps.
    """

    def __init__(
        self, model: MusicGen, frames: int, *, graphs: bool, capture: bool, own_stream: bool
    ) -> None:
        self._model, self._device = model, model.device
        books = model.config.decoder.codebooks // model.config.channels
        self.pieces = PieceGraph(model.codec, books, frames, capture=capture) if graphs else None
        self._stream: torch.cuda.Stream | None = None
        if own_stream:
            with select_device(self._device):
                # A listener waits for these few kernels; the steps can wait for them.
                self._stream = torch.cuda.Stream(priority=-1)  # type: ignore[no-untyped-call]
                # The weights come from the usual stream. Codes and samples pass by the host.
                self._stream.wait_stream(torch.cuda.current_stream())

    def select(self) -> AbstractContextManager[object]:
        """Make the codec's stream and GPU current."""
        if self._stream is None:
            return select_device(self._device)
        return torch.cuda.stream(self._stream)

    def open(self) -> CodecStream:
        """Return a streaming decoder of one clip; it must be used within `select`."""
        push = None if self.pieces is None else self.pieces.push
        return CodecStream(self._model.codec, self._model.config.channels, push)


class PieceGraph:
    """Pieces of `frames` frames of steady streams, as one CUDA graph for all clips.

    A clip's state is copied into buffers before a piece and out of them after it. Other pieces run
    in the stream itself: the first, the last, and those of another length.
    """

    def __init__(self, codec: Codec, books: int, frames: int, *, capture: bool) -> None:
        self.graphs: GraphCache[int] = GraphCache("codec", enabled=capture)
        self._codec, self._books, self._frames = codec, books, frames
        self._buffers: _Buffers | None = None
        self._lock = threading.Lock()

    @torch.inference_mode()
    def push(self, stream: MonoStream, codes: Tensor, last: bool) -> Tensor:
        """Decode codes (codebooks, frames) of `stream` to samples (1, samples)."""
        if last or codes.shape[1] != self._frames or not stream.is_steady:
            return stream.push(codes, last)
        with self._lock:
            if self._buffers is None:
                self._buffers = _Buffers(self._codec, self._books, self._frames, codes.device)
            buffers = self._buffers
            if not buffers.fit(stream):
                return stream.push(codes, last)
            buffers.load(stream, codes)
            self.graphs.run(self._frames, buffers.decode)
            return buffers.store(stream)


class _Buffers:
    """Input, state and output of a piece. The new state lies apart, so a piece may be repeated."""

    def __init__(self, codec: Codec, books: int, frames: int, device: torch.device) -> None:
        self._stream = MonoStream(codec)
        self._codes = torch.zeros(books, frames, dtype=torch.int64, device=device)
        for _ in range(WARM_UP_PIECES):
            samples = self._stream.push(self._codes, False)
        self._samples = samples.clone()
        self._shapes = [tensor.shape for tensor in self._stream.state]
        self._before = _join(self._stream)
        self._after = torch.empty_like(self._before)

    def fit(self, stream: MonoStream) -> bool:
        """Return whether the state of a steady stream has the shapes of the buffers."""
        return [tensor.shape for tensor in stream.state] == self._shapes

    def load(self, stream: MonoStream, codes: Tensor) -> None:
        """Copy the codes and the state of a stream into the buffers."""
        self._codes.copy_(codes)
        self._before.copy_(_join(stream))

    def decode(self) -> None:
        """Decode the piece from the buffers into the buffers."""
        self._stream.set_state(self._split(self._before))
        self._samples.copy_(self._stream.push(self._codes, False))
        self._after.copy_(_join(self._stream))

    def store(self, stream: MonoStream) -> Tensor:
        """Give a stream its new state. Returns: the samples (1, samples)."""
        stream.set_state(self._split(self._after.clone()))
        return self._samples.clone()

    def _split(self, joined: Tensor) -> list[Tensor]:
        sizes = [shape.numel() for shape in self._shapes]
        parts = zip(torch.split(joined, sizes), self._shapes, strict=True)
        return [part.view(shape) for part, shape in parts]


def _join(stream: MonoStream) -> Tensor:
    """Return all state of a stream as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in stream.state])
