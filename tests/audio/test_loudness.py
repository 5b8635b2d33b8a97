"""Integrated loudness against the numbers that ITU-R BS.1770 and EBU Tech 3341 print."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.loudness import design_k_weighting, measure_loudness
from musicgen.audio.pcm import Pcm

RATES = [32_000, 44_100, 48_000]


def _sine(
    seconds: float, rate: int, dbfs: float = 0.0, channels: int = 1, hz: float = 997.0
) -> Pcm:
    wave = 10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def _noise(seconds: float, rate: int, seed: int = 0, channels: int = 1) -> Pcm:
    draws = np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    return (0.05 * draws).astype(np.float32)


def _lufs(pcm: Pcm, rate: int) -> float:
    loudness = measure_loudness(pcm, rate)
    assert loudness is not None
    return loudness


def test_the_filters_at_48_khz_are_the_table_of_the_standard() -> None:
    shelf, high_pass = design_k_weighting(48_000)
    assert shelf[0] == pytest.approx((1.53512485958697, -2.69169618940638, 1.19839281085285))
    assert shelf[1] == pytest.approx((1.0, -1.69065929318241, 0.73248077421585))
    assert high_pass[0] == (1.0, -2.0, 1.0)
    assert high_pass[1] == pytest.approx((1.0, -1.99004745483398, 0.99007225036621))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_full_scale_sine_reads_what_the_standard_says(rate: int, channels: int) -> None:
    expected = {1: -3.01, 2: 0.0}[channels]
    tolerance = 0.02 if rate == 48_000 else 0.1
    assert _lufs(_sine(3, rate, channels=channels), rate) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("rate", RATES)
def test_a_silent_second_channel_adds_nothing(rate: int) -> None:
    one = _sine(1, rate, -20)
    both = np.concatenate([np.zeros_like(one), one], axis=1)
    assert _lufs(both, rate) == pytest.approx(_lufs(one, rate), abs=1e-6)


@settings(max_examples=30)
@given(st.floats(-30, 20), st.sampled_from(RATES), st.integers(0, 2**32 - 1))
def test_a_gain_moves_the_loudness_by_itself(gain_db: float, rate: int, seed: int) -> None:
    pcm = _noise(0.6, rate, seed)
    louder = (pcm * np.float32(10 ** (gain_db / 20))).astype(np.float32)
    assert _lufs(louder, rate) - _lufs(pcm, rate) == pytest.approx(gain_db, abs=1e-3)


@pytest.mark.parametrize("rate", RATES)
def test_silence_around_a_clip_hardly_counts(rate: int) -> None:
    """Guards the absolute gate: ungated, as much silence as sound reads 3 dB less."""
    pcm = _noise(4, rate)
    silence = np.zeros((4 * rate, 1), np.float32)
    padded = np.concatenate([silence, pcm, silence])
    assert _lufs(padded, rate) == pytest.approx(_lufs(pcm, rate), abs=0.4)


def test_quiet_parts_below_the_relative_gate_are_ignored() -> None:
    """EBU Tech 3341 case 3: -36, -23 and -36 dBFS in stereo for 10, 60 and 10 s read -23.0."""
    rate = 16_000
    parts = [_sine(s, rate, db, channels=2) for s, db in ((10, -36), (60, -23), (10, -36))]
    assert _lufs(np.concatenate(parts), rate) == pytest.approx(-23.0, abs=0.1)


def test_parts_above_the_relative_gate_all_count() -> None:
    """EBU Tech 3341 case 5: -26, -20 and -26 dBFS for 20, 20.1 and 20 s read -23.0."""
    rate = 16_000
    parts = [_sine(s, rate, db, channels=2) for s, db in ((20, -26), (20.1, -20), (20, -26))]
    assert _lufs(np.concatenate(parts), rate) == pytest.approx(-23.0, abs=0.1)


@pytest.mark.parametrize(("rate", "samples"), [(40_960, 2**14), (25_200, 10_080)])
def test_a_block_is_the_mean_square_behind_both_filters(rate: int, samples: int) -> None:
    """Guards the padding of the circular convolution: a loud end must not reach the start.

    The first clip would fill a transform by itself; the second does so with the padding.
    """
    pcm = _noise(1, rate)[:samples] * np.float32(0.01)
    pcm[samples // 2 :] += 0.5
    filtered = pcm[:, 0].astype(np.float64).tolist()
    for numerator, denominator in design_k_weighting(rate):
        filtered = _filtered(filtered, numerator, denominator)
    expected = -0.691 + 10 * np.log10(np.mean(np.square(filtered)))
    assert _lufs(pcm, rate) == pytest.approx(expected, abs=1e-6)


def _filtered(
    values: list[float], b: tuple[float, float, float], a: tuple[float, float, float]
) -> list[float]:
    """One biquad, sample after sample (direct form II, transposed)."""
    result, first, second = [], 0.0, 0.0
    for x in values:
        y = b[0] * x + first
        first, second = b[1] * x - a[1] * y + second, b[2] * x - a[2] * y
        result.append(y)
    return result


def test_low_frequencies_count_less_and_high_ones_more() -> None:
    rate = 48_000
    low, middle, high = (_lufs(_sine(2, rate, -20, hz=hz), rate) for hz in (25, 997, 10_000))
    assert low < middle - 8
    assert high == pytest.approx(middle + 3.3, abs=0.3)


@pytest.mark.parametrize("rate", RATES)
def test_a_block_starts_every_tenth_of_a_second(rate: int) -> None:
    """Only the second of two overlapping blocks hears the last 0.1 s, a quarter of it: -6 dB."""
    pcm = _sine(0.5, rate)
    pcm[: round(0.4 * rate)] = 0
    assert _lufs(pcm, rate) == pytest.approx(-3.01 - 6.02, abs=0.1)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_what_is_below_the_absolute_gate_has_no_loudness(rate: int, level: float) -> None:
    assert measure_loudness(_sine(1, rate) * np.float32(level), rate) is None


@pytest.mark.parametrize("rate", RATES)
def test_one_block_is_the_shortest_clip_with_a_loudness(rate: int) -> None:
    block = round(0.4 * rate)
    assert measure_loudness(_noise(1, rate)[: block - 1], rate) is None
    assert measure_loudness(_noise(1, rate)[:block], rate) is not None
    assert measure_loudness(np.zeros((0, 1), np.float32), rate) is None
