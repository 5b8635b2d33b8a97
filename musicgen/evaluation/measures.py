"""What can be said of a clip without asking anybody: each a number of the sound alone.

A clip is float32 (samples,) mono, full scale 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]

LOWEST_HZ = 40.0
HAT_HZ = 5000.0
SILENCE = 1e-3
"""RMS, -60 dBFS, below which a tenth of a second is silence."""
FULL_SCALE = 0.999
_FRAME, _HOP = 1024, 320
_SHORTEST_GAP_SECONDS = 0.08
_FLUX_OVER_MEDIAN = 4.0
_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_FAINTEST_PEAK = 1e-3
_TONIC_WEIGHT, _FIFTH_WEIGHT = 2.0, 1.5


def spectral_centroid(sound: Sound, rate: int) -> float:
    """Energy-weighted mean of the logarithm of the frequency above 40 Hz, in Hz.

    The plain mean is swamped by a single cymbal.
    """
    power, frequency = _power(sound, rate)
    heard = frequency >= LOWEST_HZ
    total = power[heard].sum()
    if total <= 0:
        return 0.0
    return float(np.exp((power[heard] * np.log(frequency[heard])).sum() / total))


def onset_rate(sound: Sound, rate: int) -> float:
    """Notes that begin in a second, by peaks of the spectral flux (Bello et al. 2005)."""
    magnitude = np.log1p(100 * _spectrogram(sound))
    flux = np.maximum(0, np.diff(magnitude, axis=0)).mean(axis=1)
    gap = max(1, round(_SHORTEST_GAP_SECONDS * rate / _HOP))
    threshold = _FLUX_OVER_MEDIAN * float(np.median(flux)) + 0.1 * float(flux.max(initial=0))
    onsets, last = 0, -gap
    for index, value in enumerate(flux):
        around = flux[max(0, index - gap) : index + gap + 1]
        if value > threshold and value == around.max() and index - last >= gap:
            onsets, last = onsets + 1, index
    return onsets * rate / max(1, len(sound))


def level(sound: Sound) -> float:
    """RMS in dBFS; -inf of digital silence."""
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    return 20 * math.log10(rms) if rms > 0 else -math.inf


def noisiness(sound: Sound, rate: int) -> float:
    """Share of the energy above 5 kHz, in dB."""
    power, frequency = _power(sound, rate)
    share = power[frequency >= HAT_HZ].sum() / max(float(power.sum()), 1e-20)
    return 10 * math.log10(max(float(share), 1e-12))


def key_strength(sound: Sound, rate: int, tonic: int, mode: str) -> float:
    """How far the pitch classes are those of a key: their correlation with its scale, -1 to 1.

    `tonic` from 0 (C) to 11. The tonic and its fifth count more than the rest of the scale.
    """
    profile = pitch_classes(sound, rate)
    wanted = np.zeros(12)
    wanted[list(_SCALES[mode])] = 1
    wanted[0], wanted[7] = _TONIC_WEIGHT, _FIFTH_WEIGHT
    if profile.std() == 0:
        return 0.0
    return float(np.corrcoef(profile, np.roll(wanted, tonic))[0, 1])


def pitch_classes(sound: Sound, rate: int) -> NDArray[np.float64]:
    """Energy of the twelve pitch classes from C, of peaks between 60 Hz and 2.1 kHz; sums to 1."""
    power, frequency = _power(sound, rate)
    peak = np.r_[False, (power[1:-1] > power[:-2]) & (power[1:-1] > power[2:]), False]
    loud = power > _FAINTEST_PEAK * power.max()
    heard = peak & loud & (frequency > 60) & (frequency < 2100)
    profile = np.zeros(12)
    pitch = np.round(69 + 12 * np.log2(frequency[heard] / 440)).astype(int)
    # The square root keeps one loud note from deciding alone.
    np.add.at(profile, pitch % 12, np.sqrt(power[heard]))
    return profile / profile.sum() if profile.sum() > 0 else profile


def silent_share(sound: Sound, rate: int) -> float:
    """Share of the tenths of a second that are silent."""
    size = rate // 10
    whole = sound[: len(sound) // size * size].reshape(-1, size)
    return float((np.sqrt(np.mean(whole**2, axis=1)) < SILENCE).mean()) if len(whole) else 1.0


def clipped_share(sound: Sound) -> float:
    """Share of the samples at full scale or beyond."""
    return float((np.abs(sound) >= FULL_SCALE).mean())


def _power(sound: Sound, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    windowed = sound * np.hanning(len(sound))
    power = np.abs(np.fft.rfft(windowed)).astype(np.float64) ** 2
    return power, np.asarray(np.fft.rfftfreq(len(sound), 1 / rate), dtype=np.float64)


def _spectrogram(sound: Sound) -> NDArray[np.float64]:
    """Magnitudes (frames, bins)."""
    padded = np.pad(sound, (_FRAME // 2, _FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(_FRAME))) / _FRAME
