"""Dither of 16-bit samples."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.dither import Dither
from musicgen.audio.encode import encode
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.request import AudioFormat

RATE = 32_000
TAGS = AudioTags("calm piano", 7, "demo", "Apache-2.0", "test")


def _store(pcm: Pcm, output_format: str = "wav") -> Pcm:
    data = encode(pcm, AudioFormat(output_format, "16", sample_rate=RATE), TAGS)
    stored, _ = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return stored * 2**15


def test_the_error_of_16_bits_does_not_follow_the_sound() -> None:
    """Rounding alone turns a tone of one step into a square wave, with harmonics."""
    time = np.arange(8 * RATE) / RATE
    tone = (1.2 / 2**15 * np.sin(2 * np.pi * 500 * time)).astype(np.float32)[:, None]
    spectra = [np.abs(np.fft.rfft(wave[:, 0])) for wave in (_store(tone), np.rint(tone * 2**15))]
    harmonics = [spectrum[8 * 1500] / spectrum[8 * 500] for spectrum in spectra]
    assert harmonics[1] > 0.05
    assert harmonics[0] < 0.01
    error = _store(tone) - tone * 2**15
    assert abs(error.mean()) < 0.01
    # A triangular noise of two steps, and the rounding of one.
    assert error.var() == pytest.approx(2 / 12 + 1 / 12, rel=0.02)


@pytest.mark.parametrize("output_format", ["wav", "flac"])
def test_silence_and_samples_of_16_bits_stay(output_format: str) -> None:
    """A continuation keeps the samples of its clip, and silence is digital."""
    steps = np.random.default_rng(1).integers(-(2**15), 2**15, (5000, 2))
    steps[1000:2000] = 0
    pcm = (steps / 2**15).astype(np.float32)
    assert np.array_equal(_store(pcm, output_format), steps)


def test_equal_sounds_have_equal_bytes_and_pieces_equal_the_whole() -> None:
    sound = np.random.default_rng(2).normal(size=(1001, 2)).astype(np.float32)
    whole = Dither().add(sound)
    dither = Dither()
    pieces = [dither.add(part) for part in np.split(sound, [1, 8, 500])]
    assert np.array_equal(np.concatenate(pieces), whole)
    assert np.array_equal(_store(sound / 10), _store(sound / 10))


def test_only_16_bits_are_dithered() -> None:
    pcm = np.full((100, 1), 0.3, np.float32)
    data = encode(pcm, AudioFormat("wav", "24", sample_rate=RATE), TAGS)
    stored, _ = sf.read(io.BytesIO(data), dtype="float64")
    assert len(set(stored)) == 1
    assert len(set(_store(pcm)[:, 0])) > 1
