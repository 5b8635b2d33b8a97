"""Pairs of prompts that differ in one word, and which of the two must measure higher."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from musicgen.evaluation.measures import (
    Sound,
    key_strength,
    level,
    noisiness,
    onset_rate,
    spectral_centroid,
)

KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
INSTRUMENTS = ("piano", "bells", "flute", "organ", "synth")
_TONICS = ("C", "D", "Eb", "E", "G", "A", "Bb", "B")
_MODES = ("major", "minor")
_FARTHEST = 6

Measure = Callable[[Sound, int], float]


@dataclass(frozen=True)
class Pair:
    """Of `measure` the clip of `more` must have more than the clip of `less`."""

    axis: str
    more: str
    less: str
    measure: Measure


def pairs(count: int) -> list[Pair]:
    """`count` pairs of each axis: register, tempo, loudness, drums and key."""
    axes = (
        _of("register", "high", "low", spectral_centroid),
        _of("tempo", "fast", "slow", onset_rate),
        _of("loudness", "loud", "soft", lambda sound, _rate: level(sound)),
        _drums(),
        _keys(),
    )
    return [pair for axis in axes for pair in itertools.islice(axis, count)]


def _contexts() -> Iterator[tuple[str, str, str]]:
    """Instrument, tonic and mode, each instrument in turn."""
    for index, mode in itertools.product(range(len(_TONICS)), _MODES):
        for place, instrument in enumerate(INSTRUMENTS):
            yield instrument, _TONICS[(index + place) % len(_TONICS)], mode


def _of(axis: str, more: str, less: str, measure: Measure) -> Iterator[Pair]:
    for instrument, tonic, mode in _contexts():
        rest = f"{instrument} melody in {tonic} {mode}"
        yield Pair(axis, f"{more} {rest}", f"{less} {rest}", measure)


def _drums() -> Iterator[Pair]:
    keys = itertools.product(_TONICS, _MODES)
    words = itertools.product(keys, ("fast", "slow"), ("loud", "soft", ""))
    for (tonic, mode), tempo, loudness in words:
        start = " ".join(word for word in (tempo, loudness) if word)
        yield Pair("drums", f"{start} drums", f"{start} flute in {tonic} {mode}", noisiness)


def _keys() -> Iterator[Pair]:
    """The same prompt in two keys as far apart as keys are, measured for the first of them."""
    for instrument, tonic, mode in _contexts():
        number = KEYS.index(tonic)
        other = KEYS[(number + _FARTHEST) % 12]
        rest = f"slow {instrument} melody in"

        def strength(sound: Sound, rate: int, number: int = number, mode: str = mode) -> float:
            return key_strength(sound, rate, number, mode)

        yield Pair("key", f"{rest} {tonic} {mode}", f"{rest} {other} {mode}", strength)
