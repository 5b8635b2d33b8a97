"""The interface between the engine and the code that computes. Imports no torch.

The engine plans, batches and collects; a backend encodes, decodes and owns the weights. Codes are
int64 (codebooks, frames) of one clip or (clips, codebooks, frames) of all, PCM is float32 (samples,
channels), both in numpy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from musicgen.engine.interface import Pcm, Row, StyleExcerpt
from musicgen.model.config import MusicGenConfig

Codes = NDArray[np.int64]


class Draws(Protocol):
    """Uniform numbers in [0, 1) of all clips, continued across the windows of a job."""

    def next(self, steps: int, codebooks: int) -> NDArray[np.float64]:
        """Draw the next numbers (clips, steps, codebooks)."""
        ...


class WindowState(Protocol):
    """Decode state of one window, for all clips of a job.

    One thread may step while another reads.
    """

    @property
    def total_steps(self) -> int:
        """Number of steps of the whole window."""
        ...

    def prefill(self, max_columns: int | None = None) -> bool:
        """Run the decoder over `max_columns` pending columns (None: all).

        Returns: whether no column is left.
        """
        ...

    def is_finite(self) -> bool:
        """Return whether all logits so far were finite. Waits for the device."""
        ...

    def read_codes(self, done: int | None = None) -> Codes:
        """Return the frames complete after `done` steps (None: all so far), as a copy."""
        ...


class SoundStream(Protocol):
    """Streaming codec decoder of one clip."""

    def push(self, codes: Codes, last: bool) -> Pcm:
        """Decode the next codes (codebooks, frames).

        Returns: the samples no later code can change, possibly none; with `last` all the rest.
        """
        ...


class DiffusionDecoder(Protocol):
    """Decoder of codes by multi-band diffusion."""

    def count_steps(self, frames: int) -> int:
        """Return the steps of a clip."""
        ...

    def decode(self, codes: Codes, seed: int) -> Iterator[Pcm | None]:
        """Decode the codes (codebooks, frames) of a clip.

        Yields None after each step, and the whole clip at last.
        """
        ...


class Backend(Protocol):
    """A loaded checkpoint.

    `Any` stands for the backend's own types: the engine only passes them on. A conditioning holds
    what `build_conditioning` made; a state is a `WindowState` of `start_window`. The engine runs
    everything heavy in its device thread.
    """

    @property
    def config(self) -> MusicGenConfig:
        """Configuration of the checkpoint."""
        ...

    @property
    def device(self) -> str:
        """Device of the weights: "cpu" or "cuda:0"."""
        ...

    @property
    def precision(self) -> str:
        """Precision of the decoder."""
        ...

    @property
    def has_diffusion(self) -> bool:
        """Whether `open_diffusion` can succeed, given the weights."""
        ...

    def compute_fingerprint(self) -> str:
        """Hash the codec's codebooks."""
        ...

    def encode_audio(self, pcm: Pcm) -> Codes:
        """Encode PCM with the model's channels to codes (codebooks, frames)."""
        ...

    def build_conditioning(
        self, rows: Sequence[Row], melody: Pcm | None, style: StyleExcerpt | None = None
    ) -> Any:
        """Encode the prompts of all rows, and the melody or the style all of them follow."""
        ...

    def start_window(
        self, rows: Sequence[Row], frames: int, conditioning: Any, known: Codes, draws: Draws
    ) -> WindowState:
        """Return the state of a window of `frames` frames, before its prefill.

        `known`: its first codes (clips, codebooks, frames).
        """
        ...

    def admit(self, state: Any) -> None:
        """Prepare a prefilled state for its first step."""
        ...

    def step(self, states: Sequence[Any]) -> None:
        """Run one step of each state.

        A failure leaves every state unchanged, so each may be stepped again.
        """
        ...

    def release(self, state: Any) -> None:
        """Release the memory of a state shared with the batch."""
        ...

    def open_stream(self) -> SoundStream:
        """Return a streaming codec decoder of one clip."""
        ...

    def decode(self, codes: Codes) -> Iterator[Pcm]:
        """Decode the codes (codebooks, frames) of a clip lazily, in pieces joining to the clip."""
        ...

    def open_diffusion(self, name: str) -> DiffusionDecoder:
        """Return the decoder with the weights `name`, loaded at the first call.

        Raises: `InvalidRequest` where there is none.
        """
        ...

    def measure_likelihood(self, prompt: str, pcm: Pcm) -> NDArray[np.float64]:
        """Return the nats per token of the clip `pcm`, by codebook.

        Raises: `MissingDependency` where this takes PyTorch.
        """
        ...

    def translate_errors(self) -> AbstractContextManager[None]:
        """Translate errors of the device into `OutOfMemory` and `DeviceFault`."""
        ...
