"""Random clips of the demo: none at full scale, in every format and by every strategy."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.lossy_fit import LossyFit
from musicgen.audio.postprocess import set_level
from musicgen.audio.tags import AudioTags
from musicgen.predictor import Predictor
from musicgen.predictor.finish import level_clip
from musicgen.predictor.parts import limit_stem
from musicgen.request import GenerationRequest
from musicgen.request.limits import FORMATS_WITH_BITRATE, NORMALIZATION_STRATEGIES, OUTPUT_FORMATS
from musicgen.settings import Settings
from tests.support.dense_music import make_dense_music
from tests.support.ebur128 import measure_ebur128
from tests.support.ffmpeg_files import decode_with_ffmpeg

PROMPTS = (
    *("upbeat electronic music", "80s pop track with bassy drums and synth", "calm piano"),
    *("fast drums", "slow sad strings", "techno groove", "loud guitar with drums"),
    *("soft flute melody", "heavy bass and drums in C minor", "happy bells"),
)
INEXACT_OPUS = {"opus": (32,)}
"""ffmpeg's decoder differs from libopus here, in packets of the voice codec."""
LIMITED = tuple(name for name in NORMALIZATION_STRATEGIES if name != "none")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(Settings(threads=1, data_dir=tmp_path_factory.mktemp("clips")))


def _check_clip(demo: Predictor, number: int, strategy: str, output_format: str) -> None:
    choose = random.Random(number)
    fields = {"loop": True, "bpm": 120} if choose.random() < 0.2 else {}
    if output_format in FORMATS_WITH_BITRATE:
        fields["bitrate"] = choose.choice([None, 32, 64, 96, 128, 192])
    request = GenerationRequest(
        prompt=choose.choice(PROMPTS),
        seed=number,
        duration=choose.choice([2, 3, 5]),
        normalization_strategy=strategy,
        output_format=output_format,
        **fields,
    )
    result = demo.generate(request)
    clip = result.clips[0]
    pcm, rate = sf.read(clip.address, dtype="float32", always_2d=True)
    is_lossy = output_format not in ("wav", "flac")
    loudness, peak = measure_ebur128(pcm, rate)
    case = f"clip {number} {request}"
    assert (*pcm.shape, rate) == (clip.samples, clip.channels, clip.sample_rate), case
    assert np.count_nonzero(np.abs(pcm) >= 1 - 2**-15) == 0, case
    assert peak <= (-0.5 if is_lossy else -1.0 + 0.1), case
    assert clip.true_peak_dbtp == pytest.approx(peak, abs=0.15), case
    assert clip.peak == pytest.approx(np.abs(pcm).max(), abs=2**-14), case
    if is_lossy and fields.get("bitrate") not in INEXACT_OPUS.get(output_format, ()):
        other, rate = decode_with_ffmpeg(Path(clip.address).read_bytes())
        assert measure_ebur128(other, rate)[1] <= -0.5, case
    assert clip.clipped_samples == 0
    assert clip.loudness_lufs == pytest.approx(loudness, abs=0.1 if is_lossy else 0.2), case
    is_missed = any("loudness is" in note for note in result.notes)
    if strategy == "loudness" and not is_missed:
        assert clip.loudness_lufs == pytest.approx(-14, abs=0.5), case


@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
def test_a_clip_keeps_its_ceiling(demo: Predictor, output_format: str) -> None:
    _check_clip(demo, 1, "loudness", output_format)


@pytest.mark.slow
@pytest.mark.parametrize("output_format", OUTPUT_FORMATS)
@pytest.mark.parametrize("strategy", LIMITED)
def test_random_clips_keep_their_ceiling(
    demo: Predictor, strategy: str, output_format: str
) -> None:
    """10 clips of each, 200 together."""
    place = LIMITED.index(strategy) * len(OUTPUT_FORMATS) + OUTPUT_FORMATS.index(output_format)
    for number in range(10 * place, 10 * place + 10):
        _check_clip(demo, number, strategy, output_format)


@pytest.mark.parametrize(("strategy", "most"), [("loudness", -0.5), ("none", None)])
def test_a_lossy_file_above_its_ceiling_is_made_anew(strategy: str, most: float | None) -> None:
    """At 32 kbit/s the first file of these drums decodes above full scale."""
    pcm = make_dense_music(1, 2)
    request = GenerationRequest(
        prompt="drums",
        duration=4,
        output_format="opus",
        bitrate=32,
        normalization_strategy=strategy,
    )
    tags = AudioTags("drums", 1, "demo", "Apache-2.0", "test")
    first = LossyFit(
        set_level(pcm, 32_000, request).pcm, request.audio_format.with_rate(32_000), tags
    )
    clip, data = level_clip(pcm, 32_000, request, tags)
    if most is None:
        assert data is None
        assert np.array_equal(clip.pcm, pcm)
        return
    assert data is not None
    assert 20 * np.log10(first.true_peak) > most
    assert clip.true_peak_dbtp is not None
    assert clip.true_peak_dbtp <= most
    decoded, rate = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert measure_ebur128(decoded, rate)[1] == pytest.approx(clip.true_peak_dbtp, abs=0.1)


def test_a_lossy_file_has_the_loudness_that_was_asked_for() -> None:
    """Opus at 32 kbit/s keeps no high frequencies: these drums lost 1.2 LU, without a note."""
    random = np.random.default_rng(3)
    time = np.arange(3 * 32_000) / 32_000
    hats = random.normal(size=len(time)) * np.exp(-(time % 0.25) * 6)
    pcm = (0.1 * hats + 0.01 * np.sin(2 * np.pi * 110 * time)).astype(np.float32)[:, None]
    tags = AudioTags("drums", 1, "demo", "Apache-2.0", "test")
    for output_format in ("mp3", "opus"):
        request = GenerationRequest(
            prompt="drums", output_format=output_format, bitrate=32, target_loudness=-22
        )
        audio_format = request.audio_format.with_rate(32_000)
        plain = set_level(pcm, 32_000, request)
        assert LossyFit(plain.pcm, audio_format, tags).measure_loss_lu(plain.loudness_lufs) > 0.5
        clip, data = level_clip(pcm, 32_000, request, tags)
        assert data is not None
        loudness, _ = measure_ebur128(*sf.read(io.BytesIO(data), dtype="float32", always_2d=True))
        assert loudness == pytest.approx(-22, abs=0.3)
        assert clip.loudness_lufs == pytest.approx(loudness, abs=0.1)
        assert not clip.notes


def test_a_sound_above_what_the_codec_keeps_is_noted() -> None:
    """At 32 kbit/s LAME keeps nothing at 14.5 kHz: the file is silent, which no note told."""
    time = np.arange(2 * 32_000) / 32_000
    pcm = (0.1 * np.sin(2 * np.pi * 14_500 * time)).astype(np.float32)[:, None]
    request = GenerationRequest(prompt="whistle", output_format="mp3", bitrate=32)
    tags = AudioTags("whistle", 1, "demo", "Apache-2.0", "test")
    clip, _ = level_clip(pcm, 32_000, request, tags)
    assert clip.loudness_lufs is None or clip.loudness_lufs < -20
    assert [note.code for note in clip.notes] == ["bitrate_too_low"]


def test_a_stem_peaks_no_higher_than_its_clip() -> None:
    """Separated drums may peak higher than the mix, where other instruments cancel them."""
    request = GenerationRequest(prompt="drums", true_peak_ceiling=-3)
    stem = (1.5 * np.random.default_rng(1).uniform(-1, 1, (9000, 2))).astype(np.float32)
    peak = measure_ebur128(limit_stem(stem, 32_000, request), 32_000)[1]
    assert peak <= -3.0 + 0.1
    same = GenerationRequest(prompt="drums", normalization_strategy="none")
    assert np.array_equal(limit_stem(stem, 32_000, same), stem)
