"""Random melodies of steady notes, and their chroma for MusicGen's melody condition."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from training.music.instruments import RATE
from training.music.render import FRAME_SECONDS, note_frequency

LOWEST_PITCH, PITCHES = 60, 12
NOTE_FRAMES = (30, 70)
"""Shortest and longest note."""
_PARTIALS = (1.0, 0.5, 0.25)


def melody(frames: int, rng: Generator) -> NDArray[np.float32]:
    """Return a melody (samples,), mono at 32 kHz; consecutive notes differ.

    Every note has whole periods in a whole number of frames and does not fade, so a small codec
    gives the same codes for it every time.
    """
    sound = np.zeros(round(frames * FRAME_SECONDS * RATE), np.float32)
    frame, pitch = 0, int(rng.integers(PITCHES))
    while frame < frames:
        length = int(rng.integers(*NOTE_FRAMES, endpoint=True))
        note = _note(note_frequency(LOWEST_PITCH + pitch), length * FRAME_SECONDS)
        start = round(frame * FRAME_SECONDS * RATE)
        sound[start : start + len(note)] = note[: len(sound) - start]
        frame, pitch = frame + length, (pitch + int(rng.integers(1, PITCHES))) % PITCHES
    return sound


def extract_chroma(sound: NDArray[np.float32], config: MusicGenConfig) -> Tensor:
    """Return the one-hot chroma (frames, 12) of a sound (samples,)."""
    return torch.from_numpy(compute_chroma(sound[:, None], config))


def _note(frequency: float, seconds: float) -> NDArray[np.float32]:
    time = np.arange(round(seconds * RATE)) / RATE
    tone = sum(
        strength * np.sin(2 * np.pi * frequency * (number + 1) * time)
        for number, strength in enumerate(_PARTIALS)
    )
    rise = np.minimum(1, time / 0.005) * np.minimum(1, (seconds - time) / 0.005)
    return (0.25 * tone * rise).astype(np.float32)
