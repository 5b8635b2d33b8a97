"""A clip and what a model made behind it, as one sound.

The model hears a clip through its codec, and what it makes begins with what it heard. Of that only
the last moment is used: before it the clip itself stands, sample for sample.
"""

from __future__ import annotations

import numpy as np

from musicgen.audio.pcm import Pcm

CROSSFADE_SECONDS = 0.05


class Joint:
    """Puts `clip` (samples, channels) in the place of its copy at the beginning of what is pushed,
    which begins at the sample `offset` of the clip."""

    def __init__(self, clip: Pcm, offset: int, sample_rate: int) -> None:
        self._head, self._heard = clip[:offset], clip[offset:]
        self._fade = min(round(CROSSFADE_SECONDS * sample_rate), len(self._heard))
        self._position = 0

    def push(self, made: Pcm) -> Pcm:
        """The next samples, to those of the whole sound."""
        start = self._position
        self._position += len(made)
        heard = self._heard[start : self._position]
        if len(heard):
            # The two are nearly the same waveform, so their sum needs weights that add up to one.
            behind = np.arange(start, start + len(heard)) - (len(self._heard) - self._fade)
            weight = np.clip(behind / max(1, self._fade), 0, 1).astype(np.float32)[:, None]
            joined = heard * (1 - weight) + made[: len(heard)] * weight
            made = np.concatenate([joined, made[len(heard) :]])
        return np.concatenate([self._head, made]) if start == 0 else made
