"""Resampling keeps time, pitch and the order of channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.audio.pcm import Pcm
from musicgen.audio.resample import resample

RATES = [8_000, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000, 192_000]


def _sine(samples: int, rate: int, hz: float) -> Pcm:
    return np.sin(2 * np.pi * hz * np.arange(samples) / rate)[:, None].astype(np.float32)


@settings(max_examples=40)
@given(
    st.integers(0, 5000), st.integers(1, 6), st.integers(2000, 200_000), st.integers(2000, 200_000)
)
def test_the_length_is_exact_at_any_pair_of_rates(
    samples: int, channels: int, from_rate: int, to_rate: int
) -> None:
    converted = resample(np.zeros((samples, channels), np.float32), from_rate, to_rate)
    assert converted.shape == (round(samples * to_rate / from_rate), channels)
    assert converted.dtype == np.float32


@given(st.sampled_from(RATES), st.integers(1, 2))
def test_equal_rates_give_the_same_array(rate: int, channels: int) -> None:
    pcm = np.ones((10, channels), np.float32)
    assert resample(pcm, rate, rate) is pcm


@settings(max_examples=30)
@given(st.sampled_from(RATES), st.sampled_from(RATES), st.floats(50, 3000))
def test_a_sine_stays_the_same_sine_in_time(from_rate: int, to_rate: int, hz: float) -> None:
    """Over 60 dB against the sine itself: no delay, no change of gain or pitch."""
    converted = resample(_sine(from_rate // 2, from_rate, hz), from_rate, to_rate)
    expected = _sine(len(converted), to_rate, hz)
    inner = slice(to_rate // 20, -to_rate // 20)
    error = np.mean((converted - expected)[inner] ** 2)
    assert np.mean(expected[inner] ** 2) > 1e6 * error


@pytest.mark.parametrize("from_rate", [44_100, 48_000, 96_000])
def test_what_the_lower_rate_cannot_hold_vanishes(from_rate: int) -> None:
    """Decimation without a filter would fold 19 kHz down to 13 kHz at 32 kHz."""
    converted = resample(_sine(from_rate, from_rate, 19_000), from_rate, 32_000)
    assert np.abs(converted[1600:-1600]).max() < 1e-3


@pytest.mark.parametrize("to_rate", [16_000, 48_000])
def test_channels_stay_apart_and_in_order(to_rate: int) -> None:
    left, right = _sine(32_000, 32_000, 300), _sine(32_000, 32_000, 1100)
    both = resample(np.concatenate([left, right], axis=1), 32_000, to_rate)
    assert np.allclose(both[:, :1], resample(left, 32_000, to_rate), atol=1e-6)
    assert np.allclose(both[:, 1:], resample(right, 32_000, to_rate), atol=1e-6)


def test_arrays_in_any_memory_order_are_read_alike() -> None:
    pcm = np.concatenate([_sine(3200, 32_000, 300), _sine(3200, 32_000, 1100)], axis=1)
    plain = resample(pcm, 32_000, 48_000)
    assert np.array_equal(resample(np.asfortranarray(pcm), 32_000, 48_000), plain)
    assert np.array_equal(resample(np.repeat(pcm, 2, axis=0)[::2], 32_000, 48_000), plain)
