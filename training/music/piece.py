"""Attributes of a piece: audible, measurable, and with words for a prompt."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.random import Generator

from training.music.instruments import INSTRUMENTS

KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
TEMPI = {"slow": 60, "medium": 40, "fast": 20}
"""Codec frames of 20 ms in a beat: 50, 75 and 150 BPM. Every note begins on a common grid of
frames, so learning one tempo helps with the others. One of the decoder's position embeddings has a
period of 20.05 steps."""
REGISTERS = {"low": 38, "high": 72}
"""Lowest MIDI pitch of the octave of all notes in a register: 73 Hz, 523 Hz."""
LOUDNESS = {"soft": 0.1, "loud": 0.32}
"""Peak of a note; full scale is 1. Nothing else changes a note's level."""
TEXTURES = ("melody", "chords", "arpeggio", "drone")


@dataclass(frozen=True)
class Piece:
    """Piece of music. `key` is an index of `KEYS`. `instrument` None means drums alone."""

    instrument: str | None
    texture: str
    tempo: str
    register: str
    key: int
    mode: str
    loudness: str
    drums: bool

    @property
    def beat_frames(self) -> int:
        return TEMPI[self.tempo]


def random_piece(rng: Generator) -> Piece:
    """Draw a random audible combination; a drone is slow and has no drums.

    There are few choices, and more melodies than pieces with several notes at once. So each kind of
    note occurs often enough for a model this small.
    """
    instrument = None if rng.random() < 0.08 else str(rng.choice(list(INSTRUMENTS)))
    texture = str(rng.choice(TEXTURES, p=(0.65, 0.1, 0.15, 0.1)))
    tempo = "slow" if texture == "drone" else str(rng.choice(list(TEMPI), p=(0.45, 0.1, 0.45)))
    registers = ["low"] if instrument == "bass" else list(REGISTERS)
    return Piece(
        instrument=instrument,
        texture=texture,
        tempo=tempo,
        register=str(rng.choice(registers)),
        key=int(rng.integers(12)),
        mode=str(rng.choice(MODES)),
        loudness=str(rng.choice(list(LOUDNESS))),
        drums=instrument is None or (texture != "drone" and bool(rng.random() < 0.2)),
    )
