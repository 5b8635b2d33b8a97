"""Change the sample rate with soxr: a band-limited filter, free of aliasing and long ringing."""

from __future__ import annotations

import numpy as np

from musicgen.audio.pcm import Pcm


def resample(pcm: Pcm, from_rate: int, to_rate: int) -> Pcm:
    """Return `pcm` (samples, channels) at `to_rate`; rates are in Hz.

    The result has exactly round(samples * to_rate / from_rate) samples; equal rates return the
    same array. A waveform near full scale may exceed it slightly.
    """
    if from_rate == to_rate:
        return pcm
    import soxr

    length = round(len(pcm) * to_rate / from_rate)
    converted = soxr.resample(np.ascontiguousarray(pcm), from_rate, to_rate, quality="VHQ")
    missing = max(length - len(converted), 0)
    return np.pad(converted[:length], ((0, missing), (0, 0))).astype(np.float32, copy=False)
