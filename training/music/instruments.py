"""Timbres from sines and noise: each function makes one note, float32 mono at `RATE`.

Attacks are short and clear, because a listener, an onset detector and a small codec all need them
to tell one note from the next. Nothing is random: a note of the same pitch and length is always the
same wave, and so are drums, as from a drum machine. A model this small can then learn each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 32_000
Note = NDArray[np.float32]
Instrument = Callable[[float, float], Note]
_HIGHEST_PARTIAL_HZ = 12_000.0
_GOLDEN = (5**0.5 - 1) / 2
"""Of a turn, from one partial's phase to the next's: no two agree, so that no peak stands out."""


def piano(frequency: float, seconds: float) -> Note:
    """Struck string: stretched partials, the higher ones die first."""
    time = _time(seconds)
    number = _partials(frequency, 10)
    stretched = number * np.sqrt(1 + 4e-4 * number**2)
    decay = np.exp(-time[None] * (1.6 + 0.9 * number[:, None]))
    tone = _sines(frequency * stretched, time) * decay / number[:, None] ** 1.1
    return _shaped(tone.sum(axis=0), seconds, attack=0.003, release=0.05)


def bells(frequency: float, seconds: float) -> Note:
    """Inharmonic partials of a struck bar."""
    time = _time(seconds)
    ratio = np.array([1.0, 2.76, 5.40])
    strength = np.array([1.0, 0.5, 0.25])
    audible = frequency * ratio < _HIGHEST_PARTIAL_HZ
    ratio, strength = ratio[audible], strength[audible]
    decay = np.exp(-time[None] * (1.8 * ratio[:, None]))
    tone = _sines(frequency * ratio, time) * decay * strength[:, None]
    return _shaped(tone.sum(axis=0), seconds, attack=0.002, release=0.05)


def flute(frequency: float, seconds: float) -> Note:
    """Few partials and a little vibrato."""
    time = _time(seconds)
    bend = 0.004 / (2 * np.pi * 5.2) * np.sin(2 * np.pi * 5.2 * time)
    number = _partials(frequency, 4)
    phase = 2 * np.pi * frequency * number[:, None] * (time + bend)[None]
    tone = np.sin(phase) * np.array([1.0, 0.35, 0.12, 0.05])[: len(number), None]
    return _shaped(tone.sum(axis=0), seconds, attack=0.02, release=0.06)


def organ(frequency: float, seconds: float) -> Note:
    """Drawbars: octaves and fifths, steady until the key is let go."""
    ratio = np.array([0.5, 1.0, 2.0, 3.0, 4.0, 6.0])
    strength = np.array([0.4, 1.0, 0.7, 0.35, 0.3, 0.15])
    tone = _sines(frequency * ratio, _time(seconds)) * strength[:, None]
    return _shaped(tone.sum(axis=0), seconds, attack=0.008, release=0.03)


def synth(frequency: float, seconds: float) -> Note:
    """A sawtooth behind a filter that closes."""
    time = _time(seconds)
    number = _partials(frequency, 24)
    closing = np.exp(-time[None] * 0.35 * (number[:, None] - 1))
    tone = _sines(frequency * number, time) * closing / number[:, None]
    return _shaped(tone.sum(axis=0), seconds, attack=0.004, release=0.03)


def bass(frequency: float, seconds: float) -> Note:
    """A round plucked bass."""
    time = _time(seconds)
    number = _partials(frequency, 6)
    decay = np.exp(-time[None] * (0.9 + 0.8 * number[:, None]))
    tone = _sines(frequency * number, time) * decay / number[:, None] ** 1.4
    return _shaped(tone.sum(axis=0), seconds, attack=0.004, release=0.04)


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
    time = _time(0.18)
    phase = 2 * np.pi * (48 * time + 90 / 30 * (1 - np.exp(-30 * time)))
    return (np.sin(phase) * np.exp(-16 * time)).astype(np.float32)


@cache
def snare() -> Note:
    time = _time(0.16)
    noise = _noise(len(time), 900, 7000)
    tone = 0.5 * np.sin(2 * np.pi * 190 * time)
    return ((noise + tone) * np.exp(-24 * time)).astype(np.float32)


@cache
def hat() -> Note:
    time = _time(0.08)
    noise = _noise(len(time), 3000, 9000)
    return (noise * np.exp(-45 * time)).astype(np.float32)


def _time(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * RATE)) / RATE


def _partials(frequency: float, most: int) -> NDArray[np.float64]:
    count = int(np.clip(_HIGHEST_PARTIAL_HZ // frequency, 1, most))
    return np.arange(1, count + 1, dtype=np.float64)


def _sines(frequency: NDArray[np.float64], time: NDArray[np.float64]) -> NDArray[np.float64]:
    phase = 2 * np.pi * _GOLDEN * np.arange(len(frequency))[:, None]
    return np.sin(2 * np.pi * frequency[:, None] * time[None] + phase)


def _shaped(
    tone: NDArray[np.float64], seconds: float, attack: float, release: float
) -> NDArray[np.float32]:
    """Without a click at either end, and with a peak of 1."""
    rise = np.minimum(1, _time(seconds) / attack)
    fall = np.minimum(1, (seconds - _time(seconds)) / release)
    shaped = tone * rise * fall
    return (shaped / max(1e-9, float(np.abs(shaped).max()))).astype(np.float32)


def _noise(samples: int, low: float, high: float) -> NDArray[np.float64]:
    """The same every time, between two frequencies in Hz, with a peak of 1."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(samples))
    frequency = np.fft.rfftfreq(samples, 1 / RATE)
    spectrum[(frequency < low) | (frequency > high)] = 0
    band = np.fft.irfft(spectrum, samples)
    return band / max(1e-9, float(np.abs(band).max()))
