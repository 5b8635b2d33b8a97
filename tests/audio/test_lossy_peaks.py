"""The true peak of lossy files, as a decoder hears them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.encode import encode
from musicgen.audio.limiter import LiveLimiter
from musicgen.audio.lossy_peaks import TOLERANCE_DB, LossyFit, encode_within, estimate_overshoot_db
from musicgen.audio.normalize import normalize
from musicgen.audio.tags import AudioTags
from musicgen.audio.true_peak import measure_true_peak
from musicgen.predictor.stream import ClipStream
from musicgen.request import AudioFormat
from tests.support.dense_music import make_dense_music

RATE = 32_000
TAGS = AudioTags("calm piano", 7, "demo", "Apache-2.0", "test")
CEILING = 10 ** (-1 / 20)


@pytest.mark.parametrize(("output_format", "bitrate"), [("opus", 32), ("ogg", None)])
def test_the_excess_is_that_of_the_decoded_file(output_format: str, bitrate: int | None) -> None:
    clip = normalize(make_dense_music(1, 2), RATE, "loudness")
    fit = LossyFit(clip.pcm, AudioFormat(output_format, bitrate=bitrate, sample_rate=RATE), TAGS)
    decoded, _ = sf.read(io.BytesIO(fit.data), dtype="float32", always_2d=True)
    peak = 20 * np.log10(measure_true_peak(decoded))
    assert peak > -1.0, "the codec must overshoot for this test"
    for ceiling in (-1.0, -12.0, -0.1):
        excess = max(0.0, peak - min(ceiling + TOLERANCE_DB, -0.1))
        assert fit.measure_excess_db(ceiling) == pytest.approx(excess, abs=0.11)


def test_a_soft_file_has_no_excess() -> None:
    soft = normalize(make_dense_music(1, 1), RATE, "peak", ceiling_dbtp=-6.0)
    assert (
        LossyFit(soft.pcm, AudioFormat("ogg", sample_rate=RATE), TAGS).measure_excess_db(-1.0) == 0
    )


def test_silence_has_no_excess() -> None:
    clip = normalize(np.zeros((RATE, 1), np.float32), RATE, "loudness")
    assert (
        LossyFit(clip.pcm, AudioFormat("mp3", sample_rate=RATE), TAGS).measure_excess_db(-1.0)
        == 0.0
    )


@pytest.mark.parametrize("level", [-1.0, -0.3, -9.0])
def test_a_conversion_of_a_clip_stays_below_full_scale(level: float) -> None:
    loud = normalize(make_dense_music(1, 2), RATE, "peak", ceiling_dbtp=level).pcm
    form = AudioFormat("opus", bitrate=32, sample_rate=RATE)
    decoded, _ = sf.read(io.BytesIO(encode_within(loud, form, TAGS)), always_2d=True)
    assert 20 * np.log10(measure_true_peak(decoded.astype(np.float32))) <= max(-0.5, level + 0.2)
    wav = AudioFormat("wav", sample_rate=RATE)
    assert encode_within(loud, wav, TAGS) == encode(loud, wav, TAGS)


@pytest.mark.parametrize("ceiling", [CEILING, None])
@pytest.mark.parametrize("depth", ["16", "float"])
def test_live_sound_is_limited_and_complete(depth: str, ceiling: float | None) -> None:
    """A model may be louder than full scale; live sound has its own level."""
    pcm = make_dense_music(2, 2, seconds=1.0) * np.float32(2)
    form = AudioFormat("wav", depth, sample_rate=RATE)
    stream = ClipStream("joined", form, 2, len(pcm), TAGS, ceiling=ceiling)
    data = b"".join(stream.push(part) for part in np.array_split(pcm, [100, 700, 9000]))
    start = data.index(b"data") + 8
    is_float = depth == "float"
    found = np.frombuffer(data[start:], "<f4" if is_float else "<i2").reshape(-1, 2)
    found = found if is_float else found.astype(np.float32) / 2**15
    assert found.shape == pcm.shape
    if ceiling is None:
        np.testing.assert_allclose(found, pcm.clip(-1, 1), atol=1e-4)
    else:
        limited = LiveLimiter(2, RATE, ceiling).push(pcm, last=True)
        np.testing.assert_allclose(found, limited, atol=1e-4)


@pytest.mark.parametrize("bitrate", [32, 64, 96, 128, None])
def test_a_live_mp3_stays_half_a_decibel_below_full_scale(bitrate: int | None) -> None:
    form = AudioFormat("mp3", bitrate=bitrate, sample_rate=RATE)
    for seed in range(3):
        pcm = make_dense_music(seed, 1) * np.float32(1.5)
        stream = ClipStream("joined", form, 1, len(pcm), TAGS, ceiling=CEILING)
        data = b"".join(stream.push(part) for part in np.array_split(pcm, 9))
        decoded, _ = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
        assert 20 * np.log10(measure_true_peak(decoded)) <= -0.5
    assert estimate_overshoot_db(form) <= 1.0
