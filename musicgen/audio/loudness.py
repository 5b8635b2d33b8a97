"""Integrated loudness of ITU-R BS.1770-5 (the measure behind "-14 LUFS"), in numpy alone.

The standard tabulates its two K-weighting biquads for 48 kHz only. Like libebur128 and
pyloudnorm, this module applies the bilinear transform to the analog filters behind the table, at
any sample rate. `tests/audio/test_loudness.py` compares the result with the table.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm

BLOCK_SECONDS = 0.4
OVERLAP = 4
"""Hops per block: a block starts every quarter of a block (75 % overlap)."""
HOPS_PER_SECOND = OVERLAP / BLOCK_SECONDS
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OFFSET_LU = -0.691
"""Calibration: a 997 Hz sine at full scale in one channel measures -3.01 LUFS."""

Biquad: TypeAlias = tuple[tuple[float, float, float], tuple[float, float, float]]
"""Numerator and denominator in powers of z^-1; the denominator begins with 1."""

# The impulse response falls by 2100 dB per second (double pole at 38 Hz): after this much sound
# before each frame, the wrap-around of the circular convolution is 130 dB down.
_SETTLE_SECONDS = 0.064
# Frames of this length stay in the processor's cache: a whole clip as one takes 15 times as long.
_FRAME_SECONDS = 0.5
# Ten seconds at once: the spectra of a whole long clip would take ten times the clip's memory.
_HOPS_AT_ONCE = 100


def measure_loudness(pcm: Pcm, sample_rate: int) -> float | None:
    """Measure the gated, K-weighted loudness of `pcm` (samples, channels) in LUFS.

    All channels weigh 1 (mono, or left and right). `sample_rate` is in Hz; blocks are rounded to
    whole samples.

    Returns None where the standard defines no loudness: for a clip shorter than one 0.4 s block,
    or without a block above the absolute gate of -70 LUFS (silence).
    """
    return measure_gated_loudness(measure_hop_power(pcm, sample_rate))


def measure_hop_power(pcm: Pcm, sample_rate: int, parts: int = 1) -> NDArray[np.float64]:
    """Measure the K-weighted power of `pcm` (samples, channels) in each tenth of a second.

    Returns the sum over the channels: (hops * parts,), where `parts` divides the samples of a hop.
    Samples after the last whole hop do not count.
    """
    hop = samples_per_hop(sample_rate)
    hops = len(pcm) // hop
    powers = [
        _measure_hops(pcm, sample_rate, range(first, min(first + _HOPS_AT_ONCE, hops)), parts)
        for first in range(0, hops, _HOPS_AT_ONCE)
    ]
    return np.concatenate(powers) if powers else np.zeros(0)


def measure_gated_loudness(power: NDArray[np.float64]) -> float | None:
    """Return the loudness in LUFS of hop powers (hops,), or None as in `measure_loudness`."""
    if len(power) < OVERLAP:
        return None
    blocks = np.lib.stride_tricks.sliding_window_view(power, OVERLAP).mean(axis=1)
    audible = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
    if not audible.size:
        return None
    foreground = audible[audible > _power(_lufs(float(audible.mean())) + RELATIVE_GATE_LU)]
    return _lufs(float(foreground.mean()))


def samples_per_hop(sample_rate: int) -> int:
    """Return the samples of one hop, a tenth of a second."""
    return round(BLOCK_SECONDS * sample_rate / OVERLAP)


def design_k_weighting(sample_rate: int) -> tuple[Biquad, Biquad]:
    """Return both biquads of the standard for `sample_rate` in Hz.

    They are a shelf (the effect of the head, +4 dB above 2 kHz) and a high-pass.
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
        # Not divided by `norm`: the table omits it too, and OFFSET_LU compensates for it.
        (1.0, -2.0, 1.0),
        (1.0, 2 * (pass_k**2 - 1) / norm, (1 - pass_k / pass_q + pass_k**2) / norm),
    )
    return shelf, high_pass


def _measure_hops(pcm: Pcm, sample_rate: int, hops: range, parts: int) -> NDArray[np.float64]:
    """Return the power of some hops of a clip: (hops * parts,).

    The filters start early enough to settle.
    """
    hop = samples_per_hop(sample_rate)
    start, stop = hops.start * hop, hops.stop * hop
    filter_start = max(0, start - math.ceil(_SETTLE_SECONDS * sample_rate))
    power = np.zeros(len(hops) * parts)
    for channel in range(pcm.shape[1]):
        sound = _apply_k_weighting(pcm[filter_start:stop, channel], sample_rate)
        rows = sound[start - filter_start :].reshape(len(power), hop // parts)
        power += np.einsum("ps,ps->p", rows, rows) * (parts / hop)
    return power


def _apply_k_weighting(sound: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Apply both biquads to `sound` (samples,) by multiplying the spectra of overlapping frames."""
    settle = math.ceil(_SETTLE_SECONDS * sample_rate)
    size = 1 << round(math.log2(_FRAME_SECONDS * sample_rate))
    size = max(size, 1 << (2 * settle - 1).bit_length())
    step = size - settle
    frames = -(-len(sound) // step)
    padded = np.zeros(settle + frames * step)
    padded[settle : settle + len(sound)] = sound
    rows = np.lib.stride_tricks.sliding_window_view(padded, size)[::step]
    spectra = np.fft.rfft(rows, axis=1) * _design_response(sample_rate, size)
    filtered: NDArray[np.float64] = np.fft.irfft(spectra, size, axis=1)[:, settle:].reshape(-1)
    return filtered[: len(sound)]


@lru_cache(maxsize=8)
def _design_response(sample_rate: int, size: int) -> NDArray[np.complex128]:
    """Return the K-weighting of a spectrum of `size` samples: (size // 2 + 1,)."""
    delay = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response: NDArray[np.complex128] = np.ones_like(delay)
    for numerator, denominator in design_k_weighting(sample_rate):
        response *= np.polyval(numerator[::-1], delay) / np.polyval(denominator[::-1], delay)
    return response


def _lufs(power: float) -> float:
    return OFFSET_LU + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET_LU) / 10))
