"""True peak and loudness against ffmpeg's ebur128, which measures at 192 kHz."""

from __future__ import annotations

import numpy as np
import pytest

from musicgen.audio.normalize import normalize
from musicgen.audio.true_peak import BlockPeaks, measure_true_peak
from musicgen.notes import ResultNote
from tests.support.dense_music import make_dense_music
from tests.support.ebur128 import measure_ebur128

RATE = 32_000


@pytest.mark.parametrize("rate", [32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("strategy", ["loudness", "peak", "rms", "clip"])
def test_ffmpeg_finds_no_true_peak_above_the_ceiling(
    strategy: str, channels: int, rate: int
) -> None:
    result = normalize(make_dense_music(channels, channels, rate) * 2, rate, strategy)
    loudness, peak = measure_ebur128(result.pcm, rate)
    assert peak <= -1.0 + 0.1
    assert result.true_peak_dbtp == pytest.approx(peak, abs=0.1)
    assert result.loudness_lufs == pytest.approx(loudness, abs=0.15)
    assert result.clipped_samples == 0
    if strategy == "loudness" and not result.notes:
        assert loudness == pytest.approx(-14, abs=0.5)


@pytest.mark.parametrize("ceiling", [-12.0, -3.0, -0.1])
def test_the_ceiling_is_that_of_the_request(ceiling: float) -> None:
    result = normalize(make_dense_music(1, 2) * 2, RATE, "loudness", -9.0, ceiling)
    _, peak = measure_ebur128(result.pcm, RATE)
    assert ceiling - 0.2 <= peak <= ceiling + 0.1


@pytest.mark.parametrize(("strategy", "note"), [("loudness", "loudness_missed")])
def test_a_level_beyond_the_ceiling_is_noted(strategy: str, note: str) -> None:
    result = normalize(make_dense_music(3, 1), RATE, strategy, -5.0)
    assert result.loudness_lufs is not None
    assert result.loudness_lufs < -5.5
    assert result.notes == (ResultNote(note, level=round(result.loudness_lufs, 1)),)


def test_an_rms_beyond_the_ceiling_is_noted() -> None:
    result = normalize(make_dense_music(3, 1), RATE, "rms", ceiling_dbtp=-12.0)
    assert [note.code for note in result.notes] == ["rms_missed"]
    rms = 10 * np.log10(np.mean(result.pcm.astype(np.float64) ** 2))
    assert result.notes[0].values["level"] == pytest.approx(rms, abs=0.1)


def test_the_true_peak_lies_between_the_samples() -> None:
    """A quarter of the rate at 45 degrees: the samples stay 3 dB below the wave."""
    wave = np.sin(np.pi / 2 * np.arange(4000) + np.pi / 4).astype(np.float32)[:, None]
    wave *= np.hanning(4000).astype(np.float32)[:, None]
    assert measure_true_peak(wave) == pytest.approx(1.0, abs=0.01)
    assert np.abs(wave).max() == pytest.approx(np.sqrt(0.5), abs=0.01)


@pytest.mark.parametrize("block", [1, 7, 15, 16])
@pytest.mark.parametrize("loops", [False, True])
def test_no_block_is_above_its_bound(block: int, loops: bool) -> None:
    """The bound decides which blocks are never interpolated."""
    pcm = np.random.default_rng(1).uniform(-1, 1, (4001, 2)).astype(np.float32)
    peaks = BlockPeaks(pcm, block, loops)
    assert (peaks.measure(0.0) <= peaks.bounds).all()
    assert peaks.measure_highest() == peaks.measured.max()
    assert (peaks.measured >= peaks.samples).all()
    assert peaks.measured.max() > peaks.samples.max()


def test_a_loop_peaks_across_its_ends() -> None:
    wave = np.sin(np.pi / 2 * np.arange(4000) + np.pi / 4).astype(np.float32)[:, None]
    assert measure_true_peak(wave, loops=True) == pytest.approx(1.0, abs=1e-3)
    step = np.ones((100, 1), np.float32)
    assert measure_true_peak(step, loops=True) == pytest.approx(1.0, abs=1e-3)
    assert measure_true_peak(step) > 1.05
