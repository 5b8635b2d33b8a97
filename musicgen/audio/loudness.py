"""Integrated loudness of ITU-R BS.1770-5 (the measure behind "-14 LUFS"), in numpy alone.

The standard tabulates its two K-weighting biquads for 48 kHz only. Like libebur128 and
pyloudnorm, this module takes the analog filters that the table was made from and applies the
bilinear transform at the rate at hand; `tests/audio/test_loudness.py` holds them to the table.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm

BLOCK_SECONDS = 0.4
OVERLAP = 4
"""A block starts every quarter of a block: 75 % overlap."""
HOPS_A_SECOND = OVERLAP / BLOCK_SECONDS
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OFFSET_LU = -0.691
"""Makes a 997 Hz sine at full scale in one channel read -3.01 LUFS."""

Biquad: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Numerator and denominator in powers of z^-1; the denominator begins with 1."""

# The impulse response falls by 2100 dB a second (double pole at 38 Hz): after this much padding
# what wraps around in the circular convolution is below the last bit of a double.
_SETTLE_SECONDS = 0.25
# Ten seconds: the spectrum of a long clip as a whole would take ten times the clip's memory.
_HOPS_AT_ONCE = 100


def integrated_loudness(pcm: Pcm, sample_rate: int) -> float | None:
    """Gated, K-weighted loudness in LUFS, all channels weighing 1 (mono or left and right).

    Args:
        pcm: (samples, channels).
        sample_rate: in Hz; blocks are whole samples, rounded.

    Returns: None where the standard defines no loudness: a clip shorter than one 0.4 s block,
    or one in which no block is above the absolute gate of -70 LUFS (silence).
    """
    return gated_loudness(power_of_hops(pcm, sample_rate))


def power_of_hops(pcm: Pcm, sample_rate: int) -> NDArray[np.float64]:
    """K-weighted power of `pcm` (samples, channels), all channels together, in each tenth of a
    second: (hops,). What is left behind the last whole one is not counted."""
    hop = hop_samples(sample_rate)
    hops = len(pcm) // hop
    parts = [
        _power_of(pcm, sample_rate, range(first, min(first + _HOPS_AT_ONCE, hops)))
        for first in range(0, hops, _HOPS_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def gated_loudness(power: NDArray[np.float64]) -> float | None:
    """`integrated_loudness` of what `power_of_hops` gave, or of a part of it."""
    if len(power) < OVERLAP:
        return None
    blocks = np.lib.stride_tricks.sliding_window_view(power, OVERLAP).mean(axis=1)
    audible = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
    if not audible.size:
        return None
    foreground = audible[audible > _power(_lufs(float(audible.mean())) + RELATIVE_GATE_LU)]
    return _lufs(float(foreground.mean()))


def hop_samples(sample_rate: int) -> int:
    return round(BLOCK_SECONDS * sample_rate / OVERLAP)


def k_weighting(sample_rate: int) -> tuple[Biquad, Biquad]:
    """The shelf (the head's effect, +4 dB above 2 kHz) and the high-pass of the standard.

    Returns: both biquads for `sample_rate` in Hz.
    """
    shelf_k, shelf_q = math.tan(math.pi * 1681.974450955533 / sample_rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    middle = high**0.4996667741545416
    norm = 1 + shelf_k / shelf_q + shelf_k**2
    shelf: Biquad = (
        (
            (high + middle * shelf_k / shelf_q + shelf_k**2) / norm,
            2 * (shelf_k**2 - high) / norm,
            (high - middle * shelf_k / shelf_q + shelf_k**2) / norm,
        ),
        (1.0, 2 * (shelf_k**2 - 1) / norm, (1 - shelf_k / shelf_q + shelf_k**2) / norm),
    )
    pass_k, pass_q = math.tan(math.pi * 38.13547087602444 / sample_rate), 0.5003270373238773
    norm = 1 + pass_k / pass_q + pass_k**2
    high_pass: Biquad = (
        # Not divided by `norm`: so the table has it, and OFFSET_LU makes up for it.
        (1.0, -2.0, 1.0),
        (1.0, 2 * (pass_k**2 - 1) / norm, (1 - pass_k / pass_q + pass_k**2) / norm),
    )
    return shelf, high_pass


def _power_of(pcm: Pcm, sample_rate: int, hops: range) -> NDArray[np.float64]:
    """Of some hops of a clip. The filters begin early enough to have settled."""
    hop = hop_samples(sample_rate)
    start, stop = hops.start * hop, hops.stop * hop
    begun = max(0, start - math.ceil(_SETTLE_SECONDS * sample_rate))
    filtered = _k_weighted(pcm[begun:stop], sample_rate)[start - begun :]
    power: NDArray[np.float64] = (filtered**2).sum(axis=1).reshape(len(hops), hop).mean(axis=1)
    return power


def _k_weighted(pcm: Pcm, sample_rate: int) -> NDArray[np.float64]:
    """Both biquads as one multiplication of spectra; shape and rate as `pcm`."""
    padded = len(pcm) + math.ceil(_SETTLE_SECONDS * sample_rate)
    size = 1 << (padded - 1).bit_length()
    delay = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = np.ones_like(delay)
    for numerator, denominator in k_weighting(sample_rate):
        response *= np.polyval(numerator[::-1], delay) / np.polyval(denominator[::-1], delay)
    spectrum = np.fft.rfft(pcm.astype(np.float64), size, axis=0)
    filtered: NDArray[np.float64] = np.fft.irfft(spectrum * response[:, None], size, axis=0)
    return filtered[: len(pcm)]


def _lufs(power: float) -> float:
    return OFFSET_LU + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LU) / 10))
