"""Timbres from sines and noise: each function makes one note, float32 mono at `RATE`.

Attacks are short and clear, because a listener, an onset detector and a small codec need them to
separate notes. Nothing is random: a note of the same pitch and length is always the same wave, and
so are drums, as from a drum machine. A model this small can then learn each of them.

A note fades over its whole length, short or long, to about a fifth of its peak. The speed of the
fade shows the tempo, and its level shows the start of the next note. So a model need not count
fifty frames, and never meets two equal silences with different continuations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 32_000
Note = NDArray[np.float32]
Instrument = Callable[[float, float], Note]
_HIGHEST_PARTIAL_HZ = 6000.0
_FADE = 1.6
"""Nepers from a note's beginning to its end."""
_GOLDEN = (5**0.5 - 1) / 2
"""Turns between the phases of neighbouring partials: all phases differ, so no peak stands out."""


def piano(frequency: float, seconds: float) -> Note:
    """Play a struck string: the higher partials fade first."""
    time, number = _time(seconds), _partials(frequency, 6)
    sooner = np.exp(-0.6 * (number[:, None] - 1) * time / seconds)
    tone = _sines(frequency * number, time) * sooner / number[:, None] ** 1.2
    return _apply_envelope(tone, seconds, attack=0.003, release=0.03)


def bells(frequency: float, seconds: float) -> Note:
    """Play a struck bar: a second tone far above the first fades quickly."""
    time, ratio = _time(seconds), np.array([1.0, 3.0])
    sooner = np.exp(-1.5 * (ratio[:, None] - 1) * time / seconds)
    tone = _sines(frequency * ratio, time) * sooner * np.array([[1.0], [0.4]])
    return _apply_envelope(tone, seconds, attack=0.002, release=0.03)


def flute(frequency: float, seconds: float) -> Note:
    """Play a tone close to a sine."""
    tone = _sines(frequency * np.array([1.0, 2.0]), _time(seconds)) * np.array([[1.0], [0.2]])
    return 0.6 * _apply_envelope(tone, seconds, attack=0.02, release=0.04)


def organ(frequency: float, seconds: float) -> Note:
    """Play drawbars: octaves and a fifth, behind a closing swell box."""
    ratio = np.array([1.0, 2.0, 3.0, 4.0])
    strength = np.array([[1.0], [0.6], [0.3], [0.2]])
    tone = _sines(frequency * ratio, _time(seconds)) * strength
    return 0.6 * _apply_envelope(tone, seconds, attack=0.008, release=0.03)


def synth(frequency: float, seconds: float) -> Note:
    """Play a sawtooth behind a closing filter."""
    time, number = _time(seconds), _partials(frequency, 8)
    closing = np.exp(-0.8 * (number[:, None] - 1) * time / seconds)
    tone = _sines(frequency * number, time) * closing / number[:, None]
    return 0.6 * _apply_envelope(tone, seconds, attack=0.004, release=0.03)


def bass(frequency: float, seconds: float) -> Note:
    """Play a round plucked bass."""
    time, number = _time(seconds), _partials(frequency, 4)
    sooner = np.exp(-0.7 * (number[:, None] - 1) * time / seconds)
    tone = _sines(frequency * number, time) * sooner / number[:, None] ** 1.4
    return _apply_envelope(tone, seconds, attack=0.004, release=0.04)


INSTRUMENTS: dict[str, Instrument] = {
    "piano": piano,
    "bells": bells,
    "flute": flute,
    "organ": organ,
    "synth": synth,
    "bass": bass,
}


@cache
def kick() -> Note:
    time = _time(0.14)
    phase = 2 * np.pi * (48 * time + 90 / 30 * (1 - np.exp(-30 * time)))
    return (np.sin(phase) * np.exp(-18 * time)).astype(np.float32)


@cache
def snare() -> Note:
    time = _time(0.12)
    tone = 0.5 * np.sin(2 * np.pi * 190 * time)
    return ((_noise(len(time), 900, 7000) + tone) * np.exp(-28 * time)).astype(np.float32)


@cache
def hat() -> Note:
    """Play an open hat; it rings into the next one."""
    time = _time(0.3)
    return (0.6 * _noise(len(time), 4000, 9000) * np.exp(-12 * time)).astype(np.float32)


def _time(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * RATE)) / RATE


def _partials(frequency: float, most: int) -> NDArray[np.float64]:
    count = int(np.clip(_HIGHEST_PARTIAL_HZ // frequency, 1, most))
    return np.arange(1, count + 1, dtype=np.float64)


def _sines(frequency: NDArray[np.float64], time: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = 2 * np.pi * _GOLDEN * np.arange(len(frequency))[:, None]
    return np.sin(2 * np.pi * frequency[:, None] * time[None] + phase)


def _apply_envelope(
    partials: NDArray[np.float64], seconds: float, attack: float, release: float
) -> NDArray[np.float32]:
    """Sum (partials, samples) and fade them, without clicks at the ends and with a peak of 1."""
    time = _time(seconds)
    rise = np.minimum(1, time / attack)
    fall = np.minimum(1, (seconds - time) / release)
    shaped = partials.sum(axis=0) * rise * fall * np.exp(-_FADE * time / seconds)
    return (shaped / max(1e-9, float(np.abs(shaped).max()))).astype(np.float32)


def _noise(samples: int, low: float, high: float) -> NDArray[np.float64]:
    """Return the same noise every time, between two frequencies in Hz, with a peak of 1."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    band = np.fft.irfft(spectrum, samples)
    return band / max(1e-9, float(np.abs(band).max()))
