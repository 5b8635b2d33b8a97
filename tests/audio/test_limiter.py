"""The limiter: ceiling, waveform of a bass, loops and pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.limiter import LiveLimiter, apply_gain, plan_gain
from musicgen.audio.normalize import normalize
from musicgen.audio.true_peak import measure_true_peak
from tests.support.dense_music import make_dense_music

RATE = 32_000
CEILING = 10 ** (-1 / 20)


def test_the_gain_only_falls_and_keeps_each_block_below_the_ceiling() -> None:
    peaks = np.random.default_rng(1).uniform(0, 3, 3000)
    gain = plan_gain(peaks, 0.9, 2000)
    assert gain.shape == (3001,)
    assert ((gain > 0) & (gain <= 1)).all()
    assert (np.maximum(gain[:-1], gain[1:]) * peaks <= 0.9 + 1e-9).all()


def test_the_gain_of_a_loop_joins_at_its_ends() -> None:
    peaks = np.full(400, 0.5)
    peaks[-3:] = 2.0
    gain = plan_gain(peaks, 0.9, 2000, loops=True)
    assert gain[0] == pytest.approx(gain[-1], rel=1e-6)
    assert gain[0] < 0.6
    turned = plan_gain(np.roll(peaks, 100), 0.9, 2000, loops=True)
    np.testing.assert_allclose(np.roll(gain[:-1], 100), turned[:-1], rtol=1e-6)


def test_sound_below_the_ceiling_stays_bit_for_bit() -> None:
    pcm = make_dense_music(5, 2)
    peaks = np.zeros(-(-len(pcm) // 16))
    peaks[2000] = 2.0
    gain = plan_gain(peaks, 0.9, 2000)
    limited = apply_gain(pcm, gain, 16)
    assert (limited[16 * 2000] != pcm[16 * 2000]).any()
    assert np.array_equal(limited[: 16 * 1980], pcm[: 16 * 1980])
    assert np.array_equal(limited[16 * 2200 :], pcm[16 * 2200 :])


@pytest.mark.parametrize("pitch", [30, 40, 60, 200])
def test_a_limited_bass_keeps_its_waveform(pitch: int) -> None:
    """Guards against a release between two peaks of a bass, which is heard as distortion."""
    time = np.arange(3 * RATE) / RATE
    pcm = (2.0 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)[:, None]
    limited = normalize(pcm, RATE, "clip").pcm[RATE : 2 * RATE, 0]
    power = np.abs(np.fft.rfft(limited * np.hanning(RATE))) ** 2
    tones = [power[harmonic * pitch - 3 : harmonic * pitch + 4].sum() for harmonic in range(1, 60)]
    assert sum(tones[1:]) / tones[0] < 1e-10


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 9000), max_size=6), st.integers(1, 2), st.floats(0.3, 8))
def test_pieces_are_limited_as_the_whole_sound_is(
    lengths: list[int], channels: int, level: float
) -> None:
    pcm = make_dense_music(channels, channels, seconds=0.8) * np.float32(level)
    whole = LiveLimiter(channels, RATE, CEILING).push(pcm, last=True)
    limiter, pieces, start = LiveLimiter(channels, RATE, CEILING), [], 0
    for length in lengths:
        pieces.append(limiter.push(pcm[start : start + length], last=False))
        start += len(pcm[start : start + length])
        assert start - sum(map(len, pieces)) <= limiter.delay
    pieces.append(limiter.push(pcm[start:], last=True))
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=2e-6)
    assert whole.shape == pcm.shape
    assert measure_true_peak(whole) <= CEILING


def test_live_sound_equals_a_stored_clip_of_the_model_s_level() -> None:
    pcm = make_dense_music(7, 2) * np.float32(1.5)
    live = LiveLimiter(2, RATE, CEILING).push(pcm, last=True)
    np.testing.assert_allclose(live, normalize(pcm, RATE, "clip").pcm, atol=2e-6)


def test_the_delay_of_live_sound_is_below_nine_milliseconds() -> None:
    assert LiveLimiter(1, RATE, CEILING).delay < 0.009 * RATE


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1, 1e6), st.integers(1, 2), st.integers(1, 4000))
def test_noise_of_any_level_stays_below_the_ceiling(
    seed: int, level: float, channels: int, samples: int
) -> None:
    """White noise up to half the rate is the hardest sound for interpolation."""
    random = np.random.default_rng(seed)
    pcm = (level * random.normal(size=(samples, channels))).astype(np.float32)
    result = normalize(pcm, RATE, "clip")
    assert measure_true_peak(result.pcm) <= CEILING * 10 ** (0.1 / 20)
    assert result.true_peak == pytest.approx(measure_true_peak(result.pcm), rel=0.01)
