"""Measures on music whose every attribute is known, because it was made from it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from musicgen.evaluation.clicks import count_clicks
from musicgen.evaluation.evaluate import AxisScore
from musicgen.evaluation.measures import (
    clipping_share,
    key_strength,
    level,
    longest_silence,
    noisiness,
    onset_rate,
    pitch_classes,
    spectral_centroid,
)
from musicgen.evaluation.pairs import INSTRUMENTS, KEYS, build_pairs
from tests.support import ROOT
from training.music.instruments import RATE
from training.music.piece import Piece
from training.music.render import render
from training.music.words import WORDS

SECONDS = 4.0
PIECES = [
    Piece(instrument, "melody", "slow", "high", key, mode, "loud", drums=False)
    for instrument, key in zip(INSTRUMENTS, (0, 2, 5, 7, 10), strict=True)
    for mode in ("major", "minor")
]


def _sound(piece: Piece, **changes: object) -> np.ndarray:
    return render(replace(piece, **changes), SECONDS, np.random.default_rng(4))  # type: ignore[arg-type]


@pytest.mark.parametrize("piece", PIECES, ids=lambda p: f"{p.instrument} {p.mode}")
def test_every_axis_is_in_the_right_order_on_real_music(piece: Piece) -> None:
    """A measure that cannot tell the truth cannot tell how near a model comes to it."""
    slow = _sound(piece)
    fast = _sound(piece, tempo="fast")
    assert onset_rate(fast, RATE) > 1.5 * onset_rate(slow, RATE)
    low, high = (_sound(piece, register=each) for each in ("low", "high"))
    assert spectral_centroid(high, RATE) > 2 * spectral_centroid(low, RATE)
    soft, loud = (_sound(piece, loudness=each) for each in ("soft", "loud"))
    assert level(loud) > level(soft) + 10
    drums = _sound(piece, instrument=None, drums=True)
    assert noisiness(drums, RATE) > noisiness(slow, RATE) + 5
    ours, theirs = (key_strength(slow, RATE, (piece.key + i) % 12, piece.mode) for i in (0, 6))
    assert ours > theirs + 0.2


def test_rests_of_a_beat_are_no_silence_but_a_gap_is() -> None:
    drums = _sound(replace(PIECES[0], instrument=None, drums=True, loudness="soft"))
    assert longest_silence(drums, RATE) < 0.8
    drums[RATE : 5 * RATE // 2] = 0
    assert longest_silence(drums, RATE) >= 1.5


def test_onsets_are_counted() -> None:
    piece = replace(PIECES[0], texture="chords", tempo="fast")
    assert onset_rate(_sound(piece), RATE) == pytest.approx(1 / 0.4, rel=0.15)


def test_a_scale_fills_its_pitch_classes() -> None:
    time = np.arange(RATE // 4) / RATE
    scale = [0, 2, 4, 5, 7, 9, 11]
    tones = [np.sin(2 * np.pi * 440 * 2 ** ((60 + step - 69) / 12) * time) for step in scale]
    notes = [tone * np.hanning(len(tone)) for tone in tones]
    profile = pitch_classes(np.concatenate(notes).astype(np.float32), RATE)
    assert profile[scale].sum() > 0.95


def test_silence_and_full_scale_are_seen_and_break_nothing() -> None:
    silence = np.zeros(RATE, np.float32)
    assert (longest_silence(silence, RATE), clipping_share(silence)) == (1.0, 0.0)
    assert level(silence) == -np.inf
    for measure in (spectral_centroid, onset_rate, noisiness):
        assert np.isfinite(measure(silence, RATE))
    assert key_strength(silence, RATE, 0, "major") == 0
    square = np.sign(np.sin(np.arange(RATE, dtype=np.float32) / 30)).astype(np.float32)
    assert clipping_share(square) > 0.99 and longest_silence(square, RATE) == 0


def test_a_step_between_two_pieces_is_a_click_and_a_note_is_none() -> None:
    sound = 0.5 * _sound(PIECES[0])
    borders = range(RATE // 2, len(sound), RATE // 2)
    assert count_clicks(sound, borders, RATE) == 0
    broken = sound.copy()
    for border in borders:
        broken[border:] += 0.05 * (-1) ** (border // (RATE // 2))
    assert count_clicks(broken, borders, RATE) == len(borders)
    assert count_clicks(broken, [border + 999 for border in borders[:-1]], RATE) == 0


def test_pairs_differ_in_what_they_ask_and_use_words_that_are_taught() -> None:
    taught = {w for values in WORDS.values() for choices in values.values() for w in choices}
    taught |= {"in", "drums", "major", "minor", *KEYS}
    made = build_pairs(40)
    assert [p.axis for p in made].count("tempo") == 40
    assert {p.axis for p in made} == {"register", "tempo", "loudness", "drums", "key"}
    assert len({(p.more, p.less) for p in made}) == len(made)
    for pair in made:
        assert pair.more != pair.less
        assert set(f"{pair.more} {pair.less}".split()) <= taught


@pytest.mark.parametrize(
    ("right", "low", "high"), [(40, 0.91, 1.0), (20, 0.35, 0.65), (0, 0, 0.09)]
)
def test_an_interval_says_what_forty_pairs_can_show(right: int, low: float, high: float) -> None:
    found = AxisScore("tempo", 40, right).interval
    assert found == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_the_command_ends_with_json() -> None:
    arguments = ["--pairs", "2", "--duration", "0.5", "--guidance", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "handlers.cli", "evaluate", "--model", "demo", *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    evaluation = json.loads(done.stdout.splitlines()[-1])
    assert (evaluation["model"], evaluation["likelihood"]) == ("demo", None)
    (result,) = evaluation["adherence"]
    assert (result["guidance"], result["clips"]) == (1.0, 20)
    assert set(result["answers"]) == {"register", "tempo", "loudness", "drums", "key"}
    assert result["answers"]["tempo"]["pairs"] == 2
