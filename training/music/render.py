"""Renderer of pieces: a score of bars in common time, then its notes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.music.instruments import INSTRUMENTS, RATE, hat, kick, snare
from training.music.piece import LOUDNESS, REGISTERS, Piece

FRAME_SECONDS = 0.02
BEATS_IN_A_BAR = 4
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
PROGRESSIONS = {"major": ((0, 4, 5, 3), (0, 3, 4, 0)), "minor": ((0, 5, 2, 6), (0, 3, 4, 0))}
"""Degrees of the scale, one chord a bar."""
HIGHEST_OCTAVE_HZ, FRAMES_OF_A_PERIOD = 500.0, 8
CHORD_STRENGTH, DRUM_STRENGTH = 0.45, 0.8


@dataclass(frozen=True)
class Event:
    """Note: MIDI `pitch`, start and length in beats, share of the full level."""

    pitch: int
    start: float
    beats: float
    strength: float


def render(piece: Piece, seconds: float, rng: Generator) -> NDArray[np.float32]:
    """Render a piece from its first beat: (samples,), mono at 32 kHz."""
    beat = piece.beat_frames * FRAME_SECONDS
    bars = int(np.ceil(seconds / (beat * BEATS_IN_A_BAR)))
    sound = np.zeros(round(seconds * RATE), np.float32)
    if piece.instrument is not None:
        for event in _score(piece, bars, rng):
            note = _note(piece.instrument, event.pitch, event.beats * beat)
            _add(sound, note * event.strength, event.start * beat)
    if piece.drums:
        for hit, start in _beats(bars):
            _add(sound, hit * DRUM_STRENGTH, start * beat)
    return sound * np.float32(LOUDNESS[piece.loudness])


def note_frequency(pitch: int) -> float:
    """Return the frequency in Hz, tuned to whole periods in a whole number of frames.

    A steady note then repeats the same few frames, 8 of them in the highest octave and 32 in the
    lowest, few enough for a codebook. No note differs by more than 20 cents from equal temperament.
    """
    exact = 440 * 2 ** ((pitch - 69) / 12)
    octaves = math.floor(math.log2(exact / HIGHEST_OCTAVE_HZ))
    grid = 2.0**octaves / (FRAMES_OF_A_PERIOD * FRAME_SECONDS)
    return round(exact / grid) * grid


@lru_cache(maxsize=1024)
def _note(instrument: str, pitch: int, seconds: float) -> NDArray[np.float32]:
    return INSTRUMENTS[instrument](note_frequency(pitch), seconds)


def _score(piece: Piece, bars: int, rng: Generator) -> Iterator[Event]:
    progressions = PROGRESSIONS[piece.mode]
    chords = progressions[rng.integers(len(progressions))]
    degree = 0
    for bar in range(bars):
        chord = chords[bar % len(chords)]
        start = bar * BEATS_IN_A_BAR
        if piece.texture == "drone":
            for step in (0, 4):
                yield Event(_pitch(piece, step), start, BEATS_IN_A_BAR, CHORD_STRENGTH)
        elif piece.texture == "chords":
            for place in range(BEATS_IN_A_BAR):
                for step in (0, 2, 4):
                    yield Event(_pitch(piece, chord + step), start + place, 1.0, CHORD_STRENGTH)
        elif piece.texture == "arpeggio":
            for place in range(2 * BEATS_IN_A_BAR):
                step = (0, 2, 4, 7)[place % 4]
                yield Event(_pitch(piece, chord + step), start + place / 2, 0.5, 1.0)
        else:
            for place in range(BEATS_IN_A_BAR):
                degree = chord if place == 0 else _next_degree(degree, rng)
                yield Event(_pitch(piece, degree), start + place, 1.0, 1.0)


def _next_degree(degree: int, rng: Generator) -> int:
    """Move by a small step, within an octave above the tonic."""
    moved = degree + int(rng.choice((-2, -1, 1, 2)))
    return moved if 0 <= moved <= 7 else degree


def _pitch(piece: Piece, degree: int) -> int:
    """Fold a degree into the register's octave: a few pitches are easy to learn."""
    lowest = REGISTERS[piece.register]
    return lowest + (piece.key + SCALES[piece.mode][degree % 7] - lowest) % 12


def _beats(bars: int) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Yield kicks on one and three, snares on two and four, hats on every half."""
    for beat in range(bars * BEATS_IN_A_BAR):
        yield (kick() if beat % 2 == 0 else snare()), beat
        for half in (0.0, 0.5):
            yield hat(), beat + half


def _add(sound: NDArray[np.float32], note: NDArray[np.float32], seconds: float) -> None:
    start = round(seconds * RATE)
    part = note[: max(0, len(sound) - start)]
    sound[start : start + len(part)] += part
