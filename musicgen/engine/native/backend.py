"""The native backend: a packed native file on a processor, in C++ and numpy. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.engine.backend import Codes, DiffusionDecoder, Draws
from musicgen.engine.interface import ENGINE_ADVICE, NEEDS_PYTORCH, Pcm, Row, StyleExcerpt
from musicgen.engine.job_rows import find_guided
from musicgen.engine.native.likelihood import UNGUIDED, compute_negative_log_likelihood
from musicgen.errors import InvalidRequest, OutOfMemory
from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from musicgen.model.delay_pattern import DelayPattern
from musicgen.model.native.codec import NativeCodec, NativeCodecStream
from musicgen.model.native.conditioner import NativeConditioner
from musicgen.model.native.generation import NativeDecoderModel
from musicgen.model.native.kv_cache import CacheForm
from musicgen.model.native.library import Library
from musicgen.model.native.window_state import NativeConditioning, NativeDecodeState, step_windows
from musicgen.model.tokenizer import Tokenize


class NativeBackend:
    """A model in the native library, `musicgen.engine.backend.Backend`.

    `arrays`: the weights by the names of a packed native file. `cache`: format of keys and values;
    None is that for the weights.

    Raises: `CheckpointMismatch`, `UnsupportedCheckpoint`.
    """

    device = "cpu"
    has_diffusion = False

    def __init__(
        self,
        library: Library,
        config: MusicGenConfig,
        arrays: Mapping[str, NDArray[Any]],
        tokenize: Tokenize,
        precision: str,
        cache: CacheForm | None = None,
    ) -> None:
        self.config, self.precision = config, precision
        decoder = config.decoder
        self._pattern = DelayPattern(decoder.codebooks, decoder.channels, decoder.start_token)
        self._decoder = NativeDecoderModel(library, decoder, arrays, cache)
        self.cache_form = self._decoder.cache_form
        self._conditioner = NativeConditioner(library, config, arrays, self._decoder, tokenize)
        self._codec = NativeCodec(library, config.codec, arrays, config.channels)

    def move_weights(self) -> Iterator[str]:
        """Move what every step reads to huge pages, also while steps run; yield each name."""
        return self._decoder.move_weights()

    def compute_fingerprint(self) -> str:
        """Hash the codec's codebooks."""
        return self._codec.fingerprint()

    def encode_audio(self, pcm: Pcm) -> Codes:
        """Encode PCM (samples, channels) to codes (codebooks, frames)."""
        return self._codec.encode(pcm)

    def build_conditioning(
        self, rows: Sequence[Row], melody: Pcm | None, style: StyleExcerpt | None = None
    ) -> NativeConditioning:
        """Encode the prompts of all rows, and the melody all of them follow.

        No packed file of a native form has a style encoder.
        """
        assert style is None
        chroma = None if melody is None else compute_chroma(melody, self.config)
        return self._conditioner.build(
            [row.prompt for row in rows],
            [row.negative_prompt for row in rows],
            find_guided(rows, melody is not None),
            chroma,
        )

    def start_window(
        self,
        rows: Sequence[Row],
        frames: int,
        conditioning: NativeConditioning,
        known: Codes,
        draws: Draws,
    ) -> NativeWindow:
        """Return the state of a window, before its prefill."""
        return NativeWindow(self._decoder, self._pattern, rows, conditioning, frames, known, draws)

    def admit(self, state: NativeWindow) -> None:
        """Do nothing: the state has its own memory."""

    def step(self, states: Sequence[NativeWindow]) -> None:
        """Run one step of each state in one native call."""
        step_windows(states)

    def release(self, state: NativeWindow) -> None:
        """Do nothing: the memory is freed with the state."""

    def open_stream(self) -> NativeCodecStream:
        """Return a streaming codec decoder of one clip."""
        return self._codec.open_stream()

    def decode(self, codes: Codes) -> Iterator[Pcm]:
        """Decode the codes (codebooks, frames) of a clip lazily, in pieces."""
        return self._codec.decode(codes)

    def open_diffusion(self, name: str) -> DiffusionDecoder:
        """Raise `InvalidRequest`: the native library has no diffusion."""
        raise InvalidRequest("decoder", NEEDS_PYTORCH, advice=ENGINE_ADVICE)

    def measure_likelihood(self, prompt: str, pcm: Pcm) -> NDArray[np.float64]:
        """Return the nats per token of the clip `pcm`, by codebook."""
        conditioning = self.build_conditioning([Row(prompt, 0, UNGUIDED)], None)
        codes = self.encode_audio(pcm)
        return compute_negative_log_likelihood(self._decoder, self._pattern, conditioning, codes)

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Translate a failed allocation into `OutOfMemory`."""
        try:
            yield
        except MemoryError as error:
            raise OutOfMemory(
                "cpu is out of memory. Ask for a shorter clip or fewer variations, or choose a "
                "smaller model."
            ) from error


class NativeWindow(NativeDecodeState):
    """Decode state of one window that returns complete frames."""

    def __init__(
        self,
        decoder: NativeDecoderModel,
        pattern: DelayPattern,
        rows: Sequence[Row],
        conditioning: NativeConditioning,
        frames: int,
        known: Codes,
        draws: Draws,
    ) -> None:
        self._pattern = pattern
        sequence = pattern.build_template(frames, known)
        first = pattern.find_first_unknown(known.shape[2])
        numbers = draws.next(sequence.shape[2] - first, pattern.codebooks)
        sampling = [row.sampling for row in rows]
        super().__init__(decoder, sampling, conditioning, sequence, first, numbers)

    def read_codes(self, done: int | None = None) -> Codes:
        """Return the frames complete after `done` steps (None: all so far)."""
        known = self.first_column + (self.steps_done if done is None else done)
        return self._pattern.revert(self.sequence[:, :, :known])
