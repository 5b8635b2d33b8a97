"""Objective measures of a clip, each a number computed from the sound alone.

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
"""RMS, -60 dBFS: a tenth of a second below it is silent."""
FULL_SCALE = 0.999
_FRAME, _HOP = 2048, 320
_BANDS, _BAND_EDGES_HZ = 24, (50.0, 8000.0)
_COMPRESSION, _FLUX_LAG = 3.0, 2
_SHORTEST_GAP_SECONDS = 0.08
_STRONGEST, _ONSET_SHARE, _ONSET_OVER_MEAN = 0.98, 0.5, 2.5
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_FAINTEST_PEAK = 1e-3
_TONIC_WEIGHT, _FIFTH_WEIGHT = 2.0, 1.5


def spectral_centroid(sound: Sound, rate: int) -> float:
    """Return the energy-weighted geometric mean of the frequencies above 40 Hz, in Hz.

    A single cymbal would dominate the arithmetic mean.
    """
    power, frequency = _power(sound, rate)
    heard = frequency >= LOWEST_HZ
    total = power[heard].sum()
    if total <= 0:
        return 0.0
    return float(np.exp((power[heard] * np.log(frequency[heard])).sum() / total))


def onset_rate(sound: Sound, rate: int) -> float:
    """Return the number of note onsets a second.

    An onset is a peak of the spectral flux of logarithmic bands, well above its surroundings (after
    Boeck and Widmer 2013).
    """
    flux = _flux(sound, rate)
    strong = _ONSET_SHARE * float(np.quantile(flux, _STRONGEST))
    gap = max(1, round(_SHORTEST_GAP_SECONDS * rate / _HOP))
    onsets, last = 0, -gap
    for index, value in enumerate(flux):
        near, around = (flux[max(0, index - w) : index + w + 1] for w in (gap, 3 * gap))
        stands_out = value > max(strong, _ONSET_OVER_MEAN * float(around.mean()))
        if stands_out and value == near.max() and index - last >= gap:
            onsets, last = onsets + 1, index
    return onsets * rate / max(1, len(sound))


def _flux(sound: Sound, rate: int) -> NDArray[np.float64]:
    """Return the mean rise of the bands' loudness over two frames, (frames,)."""
    frequency = np.fft.rfftfreq(_FRAME, 1 / rate)
    edges = np.geomspace(*_BAND_EDGES_HZ, _BANDS + 1)
    band = np.searchsorted(edges, frequency) - 1
    inside = (band >= 0) & (band < _BANDS)
    members = np.zeros((len(frequency), _BANDS))
    members[np.flatnonzero(inside), band[inside]] = 1
    magnitude = np.sqrt(_spectrogram(sound) ** 2 @ members)
    loudness = np.log1p(_COMPRESSION * magnitude / max(float(magnitude.max()), 1e-9))
    rise = np.maximum(0, loudness[_FLUX_LAG:] - loudness[:-_FLUX_LAG])
    return np.asarray(rise.mean(axis=1), dtype=np.float64)


def level(sound: Sound) -> float:
    """Return the RMS in dBFS; -inf for digital silence."""
    rms = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
    return 20 * math.log10(rms) if rms > 0 else -math.inf


def noisiness(sound: Sound, rate: int) -> float:
    """Return the share of the energy above 5 kHz, in dB."""
    power, frequency = _power(sound, rate)
    share = power[frequency >= HAT_HZ].sum() / max(float(power.sum()), 1e-20)
    return 10 * math.log10(max(float(share), 1e-12))


def key_strength(sound: Sound, rate: int, tonic: int, mode: str) -> float:
    """Return the correlation of the pitch classes with the scale of a key, -1 to 1.

    `tonic`: from 0 (C) to 11. The tonic and its fifth count more than the rest of the scale.
    """
    profile = pitch_classes(sound, rate)
    scale = np.zeros(12)
    scale[list(SCALES[mode])] = 1
    scale[0], scale[7] = _TONIC_WEIGHT, _FIFTH_WEIGHT
    if profile.std() == 0:
        return 0.0
    return float(np.corrcoef(profile, np.roll(scale, tonic))[0, 1])


def pitch_classes(sound: Sound, rate: int) -> NDArray[np.float64]:
    """Return the energy of the twelve pitch classes from C; it sums to 1.

    Only spectral peaks between 60 Hz and 2.1 kHz count.
    """
    power, frequency = _power(sound, rate)
    peak = np.r_[False, (power[1:-1] > power[:-2]) & (power[1:-1] > power[2:]), False]
    loud = power > _FAINTEST_PEAK * power.max()
    heard = peak & loud & (frequency > 60) & (frequency < 2100)
    profile = np.zeros(12)
    pitch = np.round(69 + 12 * np.log2(frequency[heard] / 440)).astype(int)
    # The square root limits the influence of one loud note.
    np.add.at(profile, pitch % 12, np.sqrt(power[heard]))
    return profile / profile.sum() if profile.sum() > 0 else profile


def longest_silence(sound: Sound, rate: int) -> float:
    """Return the longest silence in seconds, to a tenth.

    Slow drums alone are silent for half a second at a time.
    """
    size = rate // 10
    whole = sound[: len(sound) // size * size].reshape(-1, size)
    silent = np.sqrt(np.mean(whole**2, axis=1)) < SILENCE
    edges = np.flatnonzero(np.diff(np.r_[0, silent.astype(np.int8), 0]))
    return max((edges[1::2] - edges[::2]).tolist(), default=0) / 10


def clipping_share(sound: Sound) -> float:
    """Return the share of samples at full scale or beyond."""
    return float((np.abs(sound) >= FULL_SCALE).mean())


def _power(sound: Sound, rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    windowed = sound * np.hanning(len(sound))
    power = np.abs(np.fft.rfft(windowed)).astype(np.float64) ** 2
    return power, np.asarray(np.fft.rfftfreq(len(sound), 1 / rate), dtype=np.float64)


def _spectrogram(sound: Sound) -> NDArray[np.float64]:
    """Return magnitudes (frames, bins)."""
    padded = np.pad(sound, (_FRAME // 2, _FRAME))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    return np.abs(np.fft.rfft(frames * np.hanning(_FRAME))) / _FRAME
