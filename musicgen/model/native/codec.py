"""EnCodec in the native library: codes to sound and back. Imports no torch.

The same results as `musicgen.model.codec_stream` and `musicgen.model.encodec`. A stream gives the
same bits as the whole clip. Sound is float32 (samples, channels).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from musicgen.model.config import CodecConfig
from musicgen.model.native.codec_bindings import Array, Chain, ChainFields
from musicgen.model.native.codec_forms import CODEBOOKS
from musicgen.model.native.codec_plan import PADDINGS, plan_decoder, plan_encoder
from musicgen.model.native.library import Library

PIECE_FRAMES = 50
"""Frames per piece when a whole clip is decoded or encoded."""


class NativeCodec:
    """Encoder and decoder; `arrays` as `pack_codec` returns them.

    A stereo model runs the mono codec once per channel; its codebooks alternate left and right.

    Raises: `CheckpointMismatch`, `UnsupportedCheckpoint`.
    """

    def __init__(
        self, library: Library, config: CodecConfig, arrays: Mapping[str, Array], channels: int
    ) -> None:
        self.config = config
        self.channels = channels
        self.codebooks = np.ascontiguousarray(arrays[CODEBOOKS], np.float32)
        padding = PADDINGS.get(config.pad_mode, 0)
        self._decoder = ChainFields(library, plan_decoder(config), arrays, padding)
        self._encoder = ChainFields(library, plan_encoder(config), arrays, padding)
        self._squares = (self.codebooks**2).sum(axis=2)

    def fingerprint(self) -> str:
        """Hash the codebooks: equal for codecs with interchangeable tokens."""
        return hashlib.sha256(self.codebooks.tobytes()).hexdigest()[:32]

    def open_stream(self) -> NativeCodecStream:
        """Return a streaming decoder of one clip."""
        return NativeCodecStream(self, self._decoder)

    def decode(self, codes: Array) -> Iterator[Array]:
        """Decode codes (codebooks, frames) lazily; the pieces join to the whole clip."""
        stream, frames = self.open_stream(), codes.shape[1]
        for start in range(0, max(frames, 1), PIECE_FRAMES):
            end = start + PIECE_FRAMES
            yield stream.push(codes[:, start:end], end >= frames)

    def encode(self, pcm: Array) -> Array:
        """Encode sound to codes (codebooks, frames), interleaved for stereo.

        There are ceil(samples / hop_length) frames.
        """
        sides = [self._quantize(self._encode_side(side)) for side in pcm.T]
        return np.concatenate(np.stack(sides, axis=1))

    def embed(self, codes: Array) -> Array:
        """Add the codebook entries of codes (codebooks, frames): vectors (frames, size)."""
        vectors = np.zeros((codes.shape[1], self.codebooks.shape[2]), np.float32)
        for book, indices in zip(self.codebooks, codes, strict=False):
            vectors += book[indices]
        return vectors

    def _encode_side(self, samples: Array) -> Array:
        chain = Chain(self._encoder, self.config.hidden_size)
        step, count = PIECE_FRAMES * self.config.hop_length, len(samples)
        parts = [
            chain.push(samples[start : start + step, None], start + step >= count)
            for start in range(0, max(count, 1), step)
        ]
        return np.concatenate(parts)

    def _quantize(self, vectors: Array) -> Array:
        """Quantize vectors (frames, size) to codes: each codebook the rest of those before it."""
        codes = np.empty((len(self.codebooks), len(vectors)), np.int64)
        for k, book in enumerate(self.codebooks):
            distance = (vectors**2).sum(axis=1, keepdims=True) - 2 * vectors @ book.T
            codes[k] = (distance + self._squares[k]).argmin(axis=1)
            vectors = vectors - book[codes[k]]
        return codes


class NativeCodecStream:
    """Streaming decoder of one clip."""

    def __init__(self, codec: NativeCodec, fields: ChainFields) -> None:
        self._codec = codec
        self._sides = [Chain(fields, codec.config.channels) for _ in range(codec.channels)]

    def push(self, codes: Array, last: bool) -> Array:
        """Decode the next codes (codebooks, frames).

        Returns: the samples no later code can change (samples, channels), possibly none; with
        `last` all remaining samples.
        """
        step = len(self._sides)
        parts = [
            side.push(self._codec.embed(codes[i::step]), last) for i, side in enumerate(self._sides)
        ]
        return np.concatenate(parts, axis=1)
