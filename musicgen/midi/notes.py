"""Find notes in the likelihoods of a transcription model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST_PITCH = 21
"""MIDI pitch of the first column: A0, the lowest key of a piano."""
ONSET_LEAST, FRAME_LEAST = 0.5, 0.3
"""Likelihood at which a note begins, and below which it has ended."""
NOTE_FRAMES_LEAST = 11
"""Shorter notes (128 ms) are taken for noise, and shorter gaps belong to the note."""


@dataclass(frozen=True)
class Note:
    """One note: MIDI pitch, start and end in frames, and loudness from 1 to 127."""

    pitch: int
    start: int
    end: int
    velocity: int


def find_notes(onsets: NDArray[np.float32], sounding: NDArray[np.float32]) -> list[Note]:
    """Return the notes in order of start and pitch.

    `onsets` and `sounding` (frames, pitches) are the likelihoods that a note begins or sounds. A
    note begins at a peak of `onsets`; it lasts until the next one of its pitch, or until the pitch
    no longer sounds.
    """
    padded = np.pad(onsets, ((1, 1), (0, 0)))
    is_peak = (onsets > padded[:-2]) & (onsets >= padded[2:]) & (onsets >= ONSET_LEAST)
    notes = []
    for column in np.flatnonzero(is_peak.any(axis=0)):
        starts = np.flatnonzero(is_peak[:, column])
        for start, limit in zip(starts, [*starts[1:], len(onsets)], strict=True):
            end = _find_end(sounding[start:limit, column]) + int(start)
            if end - start >= NOTE_FRAMES_LEAST:
                loudness = float(sounding[start:end, column].mean())
                velocity = min(127, max(1, round(127 * loudness)))
                notes.append(Note(LOWEST_PITCH + int(column), int(start), end, velocity))
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def _find_end(sounding: NDArray[np.float32]) -> int:
    """Return the length of a note from its first frame on."""
    loud = np.flatnonzero(sounding >= FRAME_LEAST)
    if not len(loud):
        return 0
    gaps = np.flatnonzero(np.diff(loud, prepend=0) > NOTE_FRAMES_LEAST)
    last = loud[gaps[0] - 1] if len(gaps) and gaps[0] else loud[-1]
    return 0 if len(gaps) and not gaps[0] else int(last) + 1
