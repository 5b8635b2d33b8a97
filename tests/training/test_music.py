"""The synthetic music is what its description says, as measured on its sound."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from musicgen.evaluation.measures import longest_silence
from training.data import HELD_OUT_SEED, make_pool
from training.music.instruments import INSTRUMENTS, RATE
from training.music.piece import KEYS, LOUDNESS, TEMPI, Piece, random_piece
from training.music.render import FRAME_SECONDS, SCALES, note_frequency, render
from training.music.words import WORDS, describe

SECONDS = 4.0
PIECE = Piece("piano", "melody", "slow", "low", 0, "major", "soft", drums=False)
Sound = NDArray[np.float32]


def _sound(seed: int = 1, **attributes: object) -> Sound:
    return render(replace(PIECE, **attributes), SECONDS, np.random.default_rng(seed))  # type: ignore[arg-type]


def _centroid(sound: Sound) -> float:
    """Energy-weighted mean of the logarithm of the frequency, in Hz."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / RATE)
    heard = frequency > 30
    return float(np.exp(np.average(np.log(frequency[heard]), weights=power[heard])))


def _energy(sound: Sound, above: float) -> float:
    power = np.abs(np.fft.rfft(sound)) ** 2
    return float(power[np.fft.rfftfreq(len(sound), 1 / RATE) > above].sum() / power.sum())


@pytest.mark.parametrize("instrument", [name for name in INSTRUMENTS if name != "bass"])
def test_high_is_higher_than_low(instrument: str) -> None:
    low, high = (_centroid(_sound(instrument=instrument, register=r)) for r in ("low", "high"))
    assert high > 2.5 * low


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("drums", [False, True])
def test_loudness_changes_the_level_and_nothing_else(instrument: str, drums: bool) -> None:
    chords = {"instrument": instrument, "texture": "chords", "drums": drums}
    sounds = {name: _sound(loudness=name, **chords) for name in LOUDNESS}
    for name, sound in sounds.items():
        np.testing.assert_allclose(sound / LOUDNESS[name], sounds["soft"] / LOUDNESS["soft"], 1e-4)
    assert LOUDNESS["soft"] < LOUDNESS["loud"]
    assert 0.15 < np.abs(sounds["loud"]).max() < 0.95


def test_drums_are_noise_above_the_notes() -> None:
    assert _energy(_sound(drums=True), 5000) > 10 * _energy(_sound(drums=False), 5000)


def test_notes_begin_on_the_beat() -> None:
    """What comes before a beat has faded; what comes after it has not."""
    sound = _sound(texture="chords", tempo="fast")
    beat = round(TEMPI["fast"] * FRAME_SECONDS * RATE)
    width = RATE // 100
    for place in range(beat, len(sound) - width, beat):
        before, after = sound[place - width : place], sound[place : place + width]
        assert np.mean(after**2) > 2 * np.mean(before**2)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("seconds", [0.2, 0.4, 1.2])
def test_a_note_fades_over_its_whole_length(instrument: str, seconds: float) -> None:
    """How far it has faded tells how far it has come, and when the next one is due."""
    note = INSTRUMENTS[instrument](note_frequency(60), seconds)
    tenths = [np.sqrt(np.mean(part**2)) for part in np.array_split(note, 10)]
    assert all(later < earlier for earlier, later in itertools.pairwise(tenths[1:]))
    assert 0.04 < tenths[8] / tenths[1] < 0.5


def test_no_piece_falls_silent() -> None:
    """A model that has learnt silence may draw it, and then sees no reason ever to leave it."""
    rng = np.random.default_rng(4)
    for piece in (random_piece(rng) for _ in range(100)):
        assert longest_silence(render(piece, SECONDS, rng), RATE) <= 0.5, piece


@pytest.mark.parametrize("mode", SCALES)
@pytest.mark.parametrize("key", [0, 5, 9])
def test_the_notes_are_those_of_the_key(key: int, mode: str) -> None:
    """By the strongest frequency of each beat of a tune on a flute."""
    sound = _sound(instrument="flute", key=key, mode=mode)
    beat = round(TEMPI["slow"] * FRAME_SECONDS * RATE)
    for place in range(0, len(sound) - beat, beat):
        spectrum = np.abs(np.fft.rfft(sound[place : place + beat] * np.hanning(beat)))
        frequency = spectrum.argmax() * RATE / beat
        pitch = round(69 + 12 * np.log2(frequency / 440))
        assert (pitch - key) % 12 in SCALES[mode]


def test_the_same_seed_makes_the_same_clips_however_many_are_made() -> None:
    few, more = make_pool(7, 3, 0.5, processes=1), make_pool(7, 5, 0.5, processes=2)
    assert few.pieces == more.pieces[:3]
    np.testing.assert_array_equal(few.sound, more.sound[:3])
    assert make_pool(HELD_OUT_SEED, 3, 0.5, processes=1).pieces != few.pieces


def test_a_description_names_nothing_that_cannot_be_heard() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        piece = random_piece(rng)
        words = set(describe(piece, rng).replace(",", "").split())
        assert words
        for attribute, values in WORDS.items():
            for value, choices in values.items():
                if words & set(choices):
                    assert getattr(piece, attribute) == value
        if words & {"drums", "beat"}:
            assert piece.drums
        assert not words & set(KEYS) or KEYS[piece.key] in words


def test_a_whole_description_names_every_attribute() -> None:
    rng = np.random.default_rng(2)
    piece = replace(PIECE, tempo="fast", loudness="soft", register="high", drums=True)
    words = set(" ".join(describe(piece, rng, left_out=0) for _ in range(20)).split())
    assert {"piano", "in", "C", "major", "with"} <= words
    for attribute in ("tempo", "loudness", "register"):
        assert words & set(WORDS[attribute][getattr(piece, attribute)])
