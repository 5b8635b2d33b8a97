"""Join a clip with its continuation by the model.

The codec is lossy, so the copy of the clip at the start of the model's output differs from the
original. The original replaces the copy, sample for sample, with a short crossfade at its end.
"""

from __future__ import annotations

import numpy as np

from musicgen.audio.pcm import Pcm

CROSSFADE_SECONDS = 0.05


class Crossfade:
    """Crossfade from a clip (samples, channels) to its continuation.

    The pushed samples begin with the model's copy of the clip, from the sample `offset` on.
    """

    def __init__(self, clip: Pcm, offset: int, sample_rate: int) -> None:
        self._head, self._original = clip[:offset], clip[offset:]
        self._fade = min(round(CROSSFADE_SECONDS * sample_rate), len(self._original))
        self._position = 0

    def push(self, generated: Pcm) -> Pcm:
        """Return the next samples of the joined sound for the next generated ones."""
        start = self._position
        self._position += len(generated)
        original = self._original[start : self._position]
        if len(original):
            # The two are nearly the same waveform, so the weights must sum to one.
            position = np.arange(start, start + len(original)) - (len(self._original) - self._fade)
            weight = np.clip(position / max(1, self._fade), 0, 1).astype(np.float32)[:, None]
            mixed = original * (1 - weight) + generated[: len(original)] * weight
            generated = np.concatenate([mixed, generated[len(original) :]])
        return np.concatenate([self._head, generated]) if start == 0 else generated
