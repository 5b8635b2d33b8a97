"""Every strategy reaches its constant, and nothing that can be heard turns into NaN."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from musicgen.audio.loudness import measure_loudness
from musicgen.audio.normalize import MAKE_UP_MAX_DB, normalize, note_loudness
from musicgen.audio.pcm import Pcm
from musicgen.errors import GenerationError, UnknownStrategy
from musicgen.request.limits import NORMALIZATION_STRATEGIES

RATE = 32_000
CEILING = 10 ** (-1 / 20)
STRATEGIES = st.sampled_from(NORMALIZATION_STRATEGIES)
ANY_LEVEL = st.floats(1e-7, 1e6)


def _sine(seconds: float = 1.0, level: float = 0.3, channels: int = 1) -> Pcm:
    """A sine a fifth higher in each further channel, whose peak and RMS are 3 dB apart."""
    time = np.arange(round(seconds * RATE)) / RATE
    waves = [level * np.sin(2 * np.pi * 440 * 1.5**channel * time) for channel in range(channels)]
    return np.stack(waves, axis=1).astype(np.float32)


def _rms(values: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


clips = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 200), st.integers(1, 2)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(max_examples=30)
@given(STRATEGIES, clips, st.integers(1, 100))
def test_any_finite_clip_gives_a_finite_clip_of_the_same_shape(
    strategy: str, pcm: Pcm, repeats: int
) -> None:
    """Guards audiocraft's division by zero; the clips include subnormal and enormous values."""
    pcm = np.tile(pcm, (repeats, 1))
    before = pcm.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Of whatever an earlier test left to be collected while this one runs.
        warnings.simplefilter("ignore", ResourceWarning)
        result = normalize(pcm, RATE, strategy)
    assert result.pcm.shape == pcm.shape
    assert result.pcm.dtype == np.float32
    assert np.isfinite(result.pcm).all()
    assert result.loudness_lufs is None or np.isfinite(result.loudness_lufs)
    assert result.peak == np.abs(result.pcm).max()
    assert np.array_equal(pcm, before), "the argument was changed"
    if strategy == "none":
        assert np.array_equal(result.pcm, before)
    else:
        assert result.peak <= 1


@settings(max_examples=30)
@given(ANY_LEVEL, st.integers(1, 2))
def test_peak_reaches_one_decibel_below_full_scale(level: float, channels: int) -> None:
    """The true peak lies between the samples, so these may stay a little lower."""
    result = normalize(_sine(0.2, level, channels), RATE, "peak")
    if level >= 2e-6:
        assert result.true_peak == pytest.approx(CEILING, rel=1e-5)
        assert result.peak == pytest.approx(CEILING, rel=2e-3)
        assert result.clipped_samples == 0


@settings(max_examples=30)
@given(ANY_LEVEL, st.integers(1, 2))
def test_rms_of_the_channel_mean_reaches_its_target(level: float, channels: int) -> None:
    result = normalize(_sine(0.2, level, channels), RATE, "rms")
    if level >= 2e-6:
        assert _rms(result.pcm.mean(axis=1)) == pytest.approx(10 ** (-18 / 20), rel=1e-4)
        assert result.clipped_samples == 0


@settings(max_examples=20)
@given(st.floats(5e-3, 1e4), st.integers(1, 2))
def test_loudness_reaches_minus_14_lufs(level: float, channels: int) -> None:
    result = normalize(_sine(0.8, level, channels), RATE, "loudness")
    assert result.loudness_lufs == pytest.approx(-14, abs=0.1)
    assert result.loudness_lufs == pytest.approx(measure_loudness(result.pcm, RATE), abs=1e-4)
    assert (result.clipped_samples, result.notes) == (0, ())


@settings(max_examples=30)
@given(st.floats(0.0, 10.0))
def test_clip_limits_and_never_scales(level: float) -> None:
    pcm = _sine(0.05, level, 2)
    result = normalize(pcm, RATE, "clip")
    if level < 0.88:
        assert np.array_equal(result.pcm, pcm)
    assert result.true_peak <= CEILING
    assert result.clipped_samples == 0
    heard = np.abs(pcm) > 1e-3
    gain = result.pcm[heard] / pcm[heard]
    assert (gain <= 1).all()
    assert gain.size == 0 or gain.max() - gain.min() < 0.02, "a steady tone keeps its shape"


def test_none_changes_nothing_and_counts_what_an_integer_format_would_limit() -> None:
    pcm = np.array([[0.5], [1.0], [1.25], [-1.0], [-7.0]], np.float32)
    result = normalize(pcm, RATE, "none")
    assert np.array_equal(result.pcm, pcm)
    assert result.clipped_samples == 2
    assert result.notes
    assert "samples beyond full scale: 2" in "; ".join(result.notes)


@pytest.mark.parametrize("strategy", ["loudness", "rms"])
def test_spikes_are_turned_down_and_nothing_is_cut(strategy: str) -> None:
    """Three lone spikes over a soft sound: the gain would lift them, and only them, beyond 1."""
    pcm = _sine(1.0, 0.01, 2)
    pcm[[10_100, 10_200, 10_300], 0] = (0.9, -0.9, 0.9)
    result = normalize(pcm, RATE, strategy)
    assert result.clipped_samples == 0
    assert result.true_peak <= CEILING
    far = result.pcm[1000:9000] / pcm[1000:9000]
    assert far[np.abs(pcm[1000:9000]) > 1e-3].std() < 1e-5, "the gain moves far from a peak"


@pytest.mark.parametrize("strategy", NORMALIZATION_STRATEGIES)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 100, RATE])
def test_silence_stays_silence(strategy: str, channels: int, samples: int) -> None:
    """audiocraft's `peak` and `rms` fill the file with NaN here."""
    result = normalize(np.zeros((samples, channels), np.float32), RATE, strategy)
    assert not result.pcm.any()
    assert (result.loudness_lufs, result.peak, result.clipped_samples) == (None, 0.0, 0)


@pytest.mark.parametrize("strategy", ["peak", "rms", "loudness"])
def test_rounding_noise_is_not_amplified(strategy: str) -> None:
    pcm = np.full((RATE, 1), 9e-7, np.float32)
    result = normalize(pcm, RATE, strategy)
    assert np.array_equal(result.pcm, pcm)
    assert result.notes


def test_loudness_leaves_an_almost_silent_clip_at_its_level() -> None:
    pcm = _sine(1.0, 2e-3)
    result = normalize(pcm, RATE, "loudness")
    assert np.array_equal(result.pcm, pcm)
    assert result.notes
    assert normalize(_sine(1.0, 4e-3), RATE, "loudness").notes == ()


@pytest.mark.parametrize("difference", [0.0, 1e-4])
def test_rms_of_anti_phase_stereo_stays_sane(difference: float) -> None:
    """audiocraft divides by the RMS of a mean that is zero: NaN, or noise at full scale."""
    left = _sine(1.0, 0.3)
    result = normalize(np.concatenate([left, -left * np.float32(1 - difference)], 1), RATE, "rms")
    assert _rms(result.pcm) == pytest.approx(10 ** (-18 / 20), rel=1e-3)
    assert result.clipped_samples == 0
    assert result.notes
    assert "mono" in "; ".join(result.notes)


@pytest.mark.parametrize("samples", [1, 7, 12_799])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_too_short_for_a_loudness_is_scaled_by_its_rms(samples: int, channels: int) -> None:
    """The powers of both channels add up, as they do in a loudness."""
    pcm = np.tile(np.array([[0.03], [-0.03]], np.float32), (6400, channels))[:samples]
    result = normalize(pcm, RATE, "loudness")
    assert result.loudness_lufs is None
    power = channels * _rms(result.pcm) ** 2
    assert 10 * np.log10(power) - 0.691 == pytest.approx(-14, abs=1e-3)
    assert result.notes
    assert "0.4 s" in "; ".join(result.notes)


@pytest.mark.parametrize("strategy", NORMALIZATION_STRATEGIES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(strategy: str, value: float) -> None:
    pcm = _sine(0.1, channels=2)
    pcm[17, 1] = value
    with pytest.raises(GenerationError, match=r"1 NaN or infinite value of 6400"):
        normalize(pcm, RATE, strategy)


def test_pcm_with_its_axes_exchanged_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match=r"\(samples, 1\)"):
        normalize(_sine(0.1).T, RATE, "peak")


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UnknownStrategy, match="Did you mean loudness"):
        normalize(_sine(0.1), RATE, "loudnes")


def test_a_boost_raises_the_loudness() -> None:
    clip = normalize(_sine(2), RATE, "loudness", -20, boost_lu=2)
    assert clip.loudness_lufs == pytest.approx(-18, abs=0.1)


def test_a_boost_drives_the_limiter_no_harder() -> None:
    clicks = np.full((2 * RATE, 1), 1e-3, np.float32)
    clicks[::8000] = 0.9
    plain, boosted = (normalize(clicks, RATE, "loudness", boost_lu=boost) for boost in (0, 3))
    assert plain.notes, "the target must be out of reach for this test"
    gains = [clip.pcm[4000, 0] / clicks[4000, 0] for clip in (plain, boosted)]
    assert gains[0] == pytest.approx(gains[1])
    quiet = normalize(clicks, RATE, "loudness", -40)
    aimed = quiet.pcm[4000, 0] / clicks[4000, 0] * 10 ** (26 / 20)
    assert 20 * np.log10(gains[1] / aimed) == pytest.approx(MAKE_UP_MAX_DB, abs=0.2)


@pytest.mark.parametrize(
    ("target", "found", "codes"),
    [
        (-14, -14.4, []),
        (-14, -14.6, ["bitrate_too_low"]),
        (-14, None, ["bitrate_too_low"]),
        # Its limiter does not reach this.
        (0, -10.0, ["loudness_missed"]),
    ],
)
def test_the_note_tells_the_loudness_of_the_file(
    target: float, found: float | None, codes: list[str]
) -> None:
    clip = normalize(_sine(2), RATE, "loudness", target)
    assert [note.code for note in note_loudness(clip, found, target).notes] == codes
    assert note_loudness(clip, target, target).notes == ()


def test_a_clip_that_was_not_aimed_at_the_target_keeps_its_note() -> None:
    clip = normalize(_sine(2, level=1e-3), RATE, "loudness")
    assert [note.code for note in clip.notes] == ["almost_silent"]
    assert note_loudness(clip, None, -14) is clip
