"""The excerpt of a recording whose style is encoded. Imports no torch."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

ZEROS, ROLLOFF = 24, 0.945

Floats = NDArray[np.float32]


def cut_excerpt(pcm: Floats, sample_rate: int, seconds: float) -> Floats:
    """Return the middle `seconds` of `pcm` (samples, channels), or all of a shorter recording."""
    length = int(seconds * sample_rate)
    start = max(0, (len(pcm) - length) // 2)
    return pcm[start : start + length]


def resample_excerpt(pcm: Floats, from_rate: int, to_rate: int) -> Floats:
    """Return `pcm` (samples, channels) as mono (samples,) at `to_rate`.

    The filter is the one of the model's training, since a sharper one would change the features:
    a sinc with a Hann window over 24 zero crossings (J. O. Smith, "Digital Audio Resampling Home
    Page", section "Theory of Ideal Bandlimited Interpolation"), with julius' constants.
    """
    mono = pcm.astype(np.float32).mean(axis=1, dtype=np.float32)
    divisor = math.gcd(from_rate, to_rate)
    old, new = from_rate // divisor, to_rate // divisor
    if old == new:
        return mono
    kernels = _build_kernels(old, new)
    width = (kernels.shape[1] - old) // 2
    padded = np.pad(mono, (width, width + old), mode="edge")
    frames = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1])[::old]
    return (frames @ kernels.T).reshape(-1)[: new * len(mono) // old]


@functools.cache
def _build_kernels(old: int, new: int) -> Floats:
    """Return the filters (new, length): one for each of the `new` samples in `old` samples."""
    rate = min(old, new) * ROLLOFF
    width = math.ceil(ZEROS * old / rate)
    places = np.arange(-width, width + old, dtype=np.float64) / old
    times = (places - np.arange(new)[:, None] / new) * rate
    times = times.clip(-ZEROS, ZEROS)
    kernels = np.sinc(times) * np.cos(np.pi * times / ZEROS / 2) ** 2
    normalized = kernels / kernels.sum(axis=1, keepdims=True)
    return normalized.astype(np.float32)
