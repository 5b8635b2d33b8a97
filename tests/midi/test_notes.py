"""Likelihoods become notes: a peak begins one, silence or the next peak ends it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from musicgen.midi.notes import NOTE_FRAMES_LEAST, Note, find_notes

FRAMES = 120


def _silence() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((FRAMES, 88), np.float32), np.zeros((FRAMES, 88), np.float32)


def test_a_peak_and_a_sounding_pitch_are_one_note() -> None:
    onsets, sounding = _silence()
    onsets[10:13, 39] = (0.6, 0.9, 0.6)
    sounding[11:50, 39] = 0.5
    assert find_notes(onsets, sounding) == [Note(60, 11, 50, 64)]


def test_a_second_peak_ends_the_first_note_of_its_pitch_alone() -> None:
    onsets, sounding = _silence()
    onsets[[0, 40], 39] = 1.0
    onsets[0, 43] = 1.0
    sounding[:90, [39, 43]] = 1.0
    assert [(n.pitch, n.start, n.end) for n in find_notes(onsets, sounding)] == [
        (60, 0, 40),
        (64, 0, 90),
        (60, 40, 90),
    ]


def test_a_short_gap_belongs_to_the_note_and_a_long_one_ends_it() -> None:
    for gap, end in ((NOTE_FRAMES_LEAST - 1, 90), (NOTE_FRAMES_LEAST + 1, 30)):
        onsets, sounding = _silence()
        onsets[5, 0] = 1.0
        sounding[5:90, 0] = 1.0
        sounding[30 : 30 + gap, 0] = 0.0
        assert [(n.pitch, n.start, n.end) for n in find_notes(onsets, sounding)] == [(21, 5, end)]


def test_noise_is_no_note() -> None:
    onsets, sounding = _silence()
    assert find_notes(onsets, sounding) == []
    onsets[5, 0] = 0.49
    onsets[50, 1] = 1.0
    sounding[5:90, 0] = 1.0
    sounding[50 : 50 + NOTE_FRAMES_LEAST - 1, 1] = 1.0
    # A peak long before its pitch sounds begins nothing.
    onsets[10, 2] = 1.0
    sounding[40:90, 2] = 1.0
    assert find_notes(onsets, sounding) == []


LIKELIHOODS = arrays(np.float32, (40, 4), elements=st.floats(0, 1, width=32))


@given(LIKELIHOODS, LIKELIHOODS)
def test_notes_lie_within_the_clip_and_none_overlaps_its_own_pitch(
    onsets: np.ndarray, sounding: np.ndarray
) -> None:
    notes = find_notes(onsets, sounding)
    assert notes == sorted(notes, key=lambda note: (note.start, note.pitch))
    for note in notes:
        assert 0 <= note.start < note.end <= 40
        assert note.end - note.start >= NOTE_FRAMES_LEAST
        assert 1 <= note.velocity <= 127
        assert 21 <= note.pitch < 25
    for pitch in range(21, 25):
        for one, other in pairwise(note for note in notes if note.pitch == pitch):
            assert one.end <= other.start
