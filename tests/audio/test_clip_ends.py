"""A clip begins and ends as its PCM does, with the same number of samples in every decoder."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.encode import encode
from musicgen.audio.extrapolate import extrapolate
from musicgen.audio.live_encoder import LiveEncoder
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import AudioTags
from musicgen.request import AudioFormat
from musicgen.request.limits import OUTPUT_FORMATS
from tests.support.ffmpeg_files import decode_with_ffmpeg

RATE = 32_000
TAGS = AudioTags("bells", 7, "demo", "Apache-2.0", "test")
LOUDEST_ERROR = {"wav": -80, "flac": -80, "mp3": -40, "ogg": -38, "opus": -34}
"""In dB of the signal."""


def _decode(data: bytes, decoder: str) -> tuple[Pcm, int]:
    if decoder == "ffmpeg":
        return decode_with_ffmpeg(data)
    samples, rate = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return samples, rate


def _make_tones(samples: int, rate: int, channels: int = 2) -> Pcm:
    time = np.arange(samples)[:, None] / rate
    hz = np.array([440.0, 523.0])[:channels]
    return (0.4 * np.sin(2 * np.pi * hz * time + 0.5)).astype(np.float32)


def _measure_error(read: Pcm, meant: Pcm) -> float:
    return float(10 * np.log10(np.mean((read - meant) ** 2) / np.mean(meant**2) + 1e-12))


@pytest.mark.parametrize("decoder", ["libsndfile", "ffmpeg"])
@pytest.mark.parametrize("samples", [320, 6_400, RATE, 3 * RATE + 17])
@pytest.mark.parametrize("form", OUTPUT_FORMATS)
def test_the_first_and_last_ten_milliseconds_are_those_of_the_pcm(
    form: str, samples: int, decoder: str
) -> None:
    """The last 5 ms of an Opus clip of whole seconds were noise louder than the tone."""
    data = encode(_make_tones(samples, RATE), AudioFormat(form, sample_rate=RATE), TAGS)
    read, rate = _decode(data, decoder)
    meant = _make_tones(round(samples * rate / RATE), rate)
    assert read.shape == meant.shape
    count = rate // 100
    for part in (slice(count), slice(-count, None), slice(-count // 2, None)):
        assert _measure_error(read[part], meant[part]) < LOUDEST_ERROR[form]


def test_the_end_of_an_opus_clip_is_as_good_as_its_middle() -> None:
    pcm = _make_tones(RATE, RATE, 1)
    read, rate = _decode(encode(pcm, AudioFormat("opus", sample_rate=RATE), TAGS), "libsndfile")
    meant = _make_tones(rate, rate, 1)
    assert _measure_error(read[-240:], meant[-240:]) < -40


@pytest.mark.parametrize("form", OUTPUT_FORMATS)
@pytest.mark.parametrize("rate", [16_000, 32_000, 44_100])
def test_every_decoder_returns_every_sample_of_a_clip_of_any_length(form: str, rate: int) -> None:
    """ffmpeg returned 128 samples too few, or 127 too many, of a Vorbis clip on one page."""
    # A clip has at least 0.1 s. ffmpeg does not find the only frames of a shorter mp3.
    shortest = round(0.1 * rate) if form == "mp3" else 1
    lengths = (1, 2, 64, 129, 320, 959, 1_000, 1_153, 3_000, 4_410, 5_000, 20_000, 41_000)
    for samples in (length for length in lengths if length >= shortest):
        noise = np.random.default_rng(samples).normal(0, 0.1, (samples, 2)).astype(np.float32)
        data = encode(noise, AudioFormat(form, sample_rate=rate), TAGS)
        for decoder in ("libsndfile", "ffmpeg"):
            read, read_rate = _decode(data, decoder)
            assert len(read) == round(samples * read_rate / rate), (samples, decoder)


@pytest.mark.parametrize("samples", [300, 10_000, 2 * RATE])
def test_a_live_vorbis_clip_is_whole_in_every_decoder(samples: int) -> None:
    pcm = _make_tones(samples, RATE)
    encoder = LiveEncoder(2, AudioFormat("ogg", sample_rate=RATE), TAGS)
    middle = samples // 2
    data = encoder.push(pcm[:middle], last=False) + encoder.push(pcm[middle:], last=True)
    for decoder in ("libsndfile", "ffmpeg"):
        assert len(_decode(data, decoder)[0]) == samples


def test_a_tone_is_extrapolated_as_a_tone() -> None:
    pcm = _make_tones(5_000, RATE)
    following = extrapolate(pcm[:4_000], 1_000)
    assert _measure_error(following, pcm[4_000:]) < -20


@pytest.mark.parametrize("samples", [0, 1, 2, 3, 100])
def test_any_sound_is_extrapolated_within_full_scale(samples: int) -> None:
    loud = np.random.default_rng(samples).normal(0, 2, (samples, 2)).astype(np.float32)
    following = extrapolate(loud, 500)
    assert following.shape == (500, 2)
    assert np.abs(following).max() <= 1
    assert not extrapolate(np.zeros((samples, 1), np.float32), 500).any()
