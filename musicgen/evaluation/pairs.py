"""Pairs of prompts with one different word, and the expected order of a measure."""

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
    """Pair of prompts; the clip of `more` should have a higher `measure` than that of `less`."""

    axis: str
    more: str
    less: str
    measure: Measure


def build_pairs(count: int) -> list[Pair]:
    """Return `count` pairs of each axis: register, tempo, loudness, drums and key."""
    axes = (
        _build_axis("register", "high", "low", spectral_centroid),
        _build_axis("tempo", "fast", "slow", onset_rate),
        _build_axis("loudness", "loud", "soft", lambda sound, _rate: level(sound)),
        _build_drums(),
        _build_keys(),
    )
    return [pair for axis in axes for pair in itertools.islice(axis, count)]


def _list_contexts() -> Iterator[tuple[str, str, str]]:
    """Yield (instrument, tonic, mode), with the instruments in turn."""
    for index, mode in itertools.product(range(len(_TONICS)), _MODES):
        for place, instrument in enumerate(INSTRUMENTS):
            yield instrument, _TONICS[(index + place) % len(_TONICS)], mode


def _build_axis(axis: str, more: str, less: str, measure: Measure) -> Iterator[Pair]:
    for instrument, tonic, mode in _list_contexts():
        rest = f"{instrument} melody in {tonic} {mode}"
        yield Pair(axis, f"{more} {rest}", f"{less} {rest}", measure)


def _build_drums() -> Iterator[Pair]:
    keys = itertools.product(_TONICS, _MODES)
    words = itertools.product(keys, ("fast", "slow"), ("loud", "soft", ""))
    for (tonic, mode), tempo, loudness in words:
        start = " ".join(word for word in (tempo, loudness) if word)
        yield Pair("drums", f"{start} drums", f"{start} flute in {tonic} {mode}", noisiness)


def _build_keys() -> Iterator[Pair]:
    """Yield the same prompt in two distant keys, measured by the strength of the first key."""
    for instrument, tonic, mode in _list_contexts():
        number = KEYS.index(tonic)
        other = KEYS[(number + _FARTHEST) % 12]
        rest = f"slow {instrument} melody in"

        def strength(sound: Sound, rate: int, number: int = number, mode: str = mode) -> float:
            return key_strength(sound, rate, number, mode)

        yield Pair("key", f"{rest} {tonic} {mode}", f"{rest} {other} {mode}", strength)
