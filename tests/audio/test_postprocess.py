"""From what was made to the clip that was asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.loudness import measure_loudness
from musicgen.audio.pcm import Pcm
from musicgen.audio.postprocess import (
    apply_fades,
    finish_clip,
    make_loop,
    steady_level,
    trim_silence,
)
from musicgen.request import GenerationRequest
from musicgen.request.limits import SEAM_SECONDS

RATE = 32_000


def _request(**fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt="music", **fields)


def _music(seconds: float, channels: int = 1, seed: int = 0) -> Pcm:
    """Decaying notes with a noisy beginning each: what a seam would be heard in."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    beat = time % 0.37
    pitch = 110 * 2 ** (rng.integers(0, 24, 4000)[(time // 0.37).astype(int)] / 12)
    tone = np.sin(2 * np.pi * pitch * beat) * np.exp(-5 * beat)
    noise = rng.normal(0, 0.2, len(time)) * np.exp(-80 * beat)
    sides = [0.4 * (tone + noise) * (1 - 0.3 * side) for side in range(channels)]
    return np.stack(sides, axis=1).astype(np.float32)


def _largest_seam(clip: Pcm) -> tuple[float, float]:
    """The step from the end of a clip to its beginning, and its own 99.9th percentile."""
    steps = np.abs(np.diff(clip, axis=0))
    return float(np.abs(clip[0] - clip[-1]).max()), float(np.percentile(steps, 99.9))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [None, 44_100, 48_000])
@pytest.mark.parametrize("bpm", [60.0, 97.3, 120.0, 174.0])
def test_a_loop_is_whole_bars_and_goes_on_into_itself(
    bpm: float, rate: int | None, channels: int
) -> None:
    request = _request(duration=8.0, loop=True, bpm=bpm, sample_rate=rate)
    bars = request.seconds * bpm / 60 / 4
    assert bars == pytest.approx(round(bars)) and abs(request.seconds - 8) <= 120 / bpm
    clip = finish_clip(_music(request.seconds_to_generate, channels), RATE, request).pcm
    assert clip.shape == (round(request.seconds * (rate or RATE)), channels)
    seam, usual = _largest_seam(clip)
    assert seam <= usual


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.2, 4))
def test_a_loop_of_any_music_has_no_seam(seed: int, seconds: float) -> None:
    length = round(seconds * RATE)
    made = _music(seconds + SEAM_SECONDS, seed=seed)
    clip = make_loop(made, RATE, length)
    assert len(clip) == length
    seam, usual = _largest_seam(clip)
    assert seam <= usual
    # Twice in a row it is what was made, but where the end runs into the beginning.
    assert (
        np.abs(np.diff(np.concatenate([clip, clip]), axis=0)).max()
        <= 2 * np.abs(np.diff(made, axis=0)).max()
    )


def test_a_plain_cut_would_be_heard() -> None:
    """Guards the test above: it can fail."""
    seams = []
    for seed in range(20):
        made = _music(2 + SEAM_SECONDS, seed=seed)
        seam, usual = _largest_seam(made[: 2 * RATE])
        seams.append(seam > usual)
    assert any(seams)


@given(
    st.lists(st.sampled_from([0.0, 0.3, 1e-4]), min_size=1, max_size=12),
    st.integers(1, 4000),
)
def test_trimming_takes_silence_off_the_ends_and_nothing_else(
    levels: list[float], length: int
) -> None:
    rng = np.random.default_rng(3)
    made = np.concatenate([rng.normal(0, level, (length, 2)) for level in levels])
    pcm = made.astype(np.float32)
    kept = trim_silence(pcm, RATE)
    loud = np.flatnonzero(np.abs(pcm).max(axis=1) > 0.01)
    if not len(loud):
        return
    start = next(i for i in range(len(pcm)) if np.array_equal(pcm[i : i + len(kept)], kept))
    assert start <= loud[0] and start + len(kept) > loud[-1]
    assert loud[0] - start <= 0.03 * RATE and start + len(kept) - loud[-1] <= 0.03 * RATE


def test_silence_stays_as_long_as_it_is() -> None:
    silence = np.zeros((RATE, 1), np.float32)
    assert len(trim_silence(silence, RATE)) == RATE
    found = finish_clip(silence, RATE, _request(duration=1.0, trim_silence=True))
    assert len(found.pcm) == RATE and found.notes


@pytest.fixture(scope="module")
def five_minutes() -> Pcm:
    return _music(300)


@pytest.mark.parametrize("drift", [-6.0, 12.0, 20.0])
def test_a_drift_of_the_level_is_taken_out(five_minutes: Pcm, drift: float) -> None:
    """Guards music that becomes louder until it clips."""
    made = five_minutes
    gain = 10 ** (np.linspace(-drift / 2, drift / 2, len(made)) / 20)
    pcm = (made * gain[:, None] * 0.2).astype(np.float32)
    finished = finish_clip(pcm, RATE, _request(duration=300.0)).pcm
    window = 30 * RATE
    first, last = (measure_loudness(part, RATE) for part in (finished[:window], finished[-window:]))
    assert first is not None and last is not None
    allowed = 1.0 if abs(drift) < 18 else 3.0
    assert abs(last - first) < allowed
    assert measure_loudness(finished, RATE) == pytest.approx(-14, abs=0.3)


def test_a_quiet_passage_and_a_short_clip_keep_their_dynamics() -> None:
    """A drift is slow: what happens within a window is the music's own."""
    made = _music(90)
    made[40 * RATE : 44 * RATE] *= 0.1
    before, after = (
        np.sqrt(np.square(pcm[41 * RATE : 43 * RATE]).mean() / np.square(pcm).mean())
        for pcm in (made, steady_level(made, RATE))
    )
    assert after == pytest.approx(before, rel=0.15)
    short = _music(30)
    assert steady_level(short, RATE) is short
    rest = np.zeros((60 * RATE, 1), np.float32)
    np.testing.assert_array_equal(steady_level(rest, RATE), rest)


@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(1, 4000))
def test_fades_begin_and_end_in_silence_and_leave_the_rest(
    into: int, out: int, length: int
) -> None:
    pcm = np.ones((length, 2), np.float32)
    found = apply_fades(pcm, into, out)
    assert (pcm == 1).all(), "the argument is not changed"
    assert found.min() >= 0 and found.max() <= 1
    if into:
        assert found[0, 0] == 0
    if out:
        assert found[-1, 0] == 0
    middle = found[min(into, length) : max(0, length - out)]
    assert (middle == 1).all()


@pytest.mark.parametrize(
    ("fields", "samples"),
    [
        ({}, 96_000),
        ({"sample_rate": 44_100}, 132_300),
        ({"sample_rate": 48_000}, 144_000),
        ({"sample_rate": 32_000}, 96_000),
        ({"fade_in": 1.0, "fade_out": 2.0}, 96_000),
    ],
)
def test_the_length_is_exact_at_every_rate(fields: dict[str, Any], samples: int) -> None:
    # The model makes whole frames, so a little more than is asked for.
    made = _music(3.013, channels=2)
    found = finish_clip(made, RATE, _request(duration=3.0, **fields))
    assert found.pcm.shape == (samples, 2)
    assert found.loudness_lufs == pytest.approx(-14, abs=0.5)


@pytest.mark.parametrize("target", [-23.0, -14.0, -9.0])
def test_loudness_is_that_of_the_finished_clip(target: float) -> None:
    """Guards a level that is set before the fades take some of it away."""
    request = _request(duration=6.0, fade_in=2.0, fade_out=2.0, target_loudness=target)
    found = finish_clip(0.1 * _music(6), RATE, request)
    tolerance = 0.1 if found.clipped_samples == 0 else 1.5
    assert found.loudness_lufs == pytest.approx(target, abs=tolerance)


def test_left_and_right_stay_where_they_are() -> None:
    made = _music(2 + SEAM_SECONDS, channels=2)
    request = _request(duration=2.0, loop=True, bpm=120, sample_rate=48_000)
    left, right = finish_clip(made, RATE, request).pcm.T
    np.testing.assert_allclose(right, 0.7 * left, atol=1e-4)
