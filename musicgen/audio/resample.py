"""Changes the sample rate with soxr, whose band-limited filter neither aliases nor rings long."""

from __future__ import annotations

import numpy as np

from musicgen.audio.pcm import Pcm


def resample(pcm: Pcm, from_rate: int, to_rate: int) -> Pcm:
    """`pcm` (samples, channels) at `to_rate`; rates are Hz.

    Returns: exactly round(samples * to_rate / from_rate) samples; the same array when the rates
    are equal. A waveform near full scale may come out slightly above it.
    """
    if from_rate == to_rate:
        return pcm
    import soxr

    wanted = round(len(pcm) * to_rate / from_rate)
    converted = soxr.resample(np.ascontiguousarray(pcm), from_rate, to_rate, quality="VHQ")
    missing = max(wanted - len(converted), 0)
    return np.pad(converted[:wanted], ((0, missing), (0, 0))).astype(np.float32, copy=False)
