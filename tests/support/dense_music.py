"""Music for tests of the level: drums and hats over a chord, with high peaks over a low level."""

from __future__ import annotations

import numpy as np

from musicgen.audio.pcm import Pcm


def make_dense_music(seed: int, channels: int, rate: int = 32_000, seconds: float = 4.0) -> Pcm:
    """Return music with a peak near 1, (samples, channels)."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    drums = np.sin(2 * np.pi * 60 * time) * np.exp(-(time % 0.5) * 12)
    hats = random.normal(size=(len(time), channels)) * np.exp(-(time % 0.25) * 40)[:, None]
    chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in random.uniform(100, 2000, 5))
    sound = 0.8 * drums[:, None] + 0.5 * hats + 0.06 * np.asarray(chord)[:, None]
    return sound.astype(np.float32)
