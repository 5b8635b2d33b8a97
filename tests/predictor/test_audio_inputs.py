"""Clips of every length, rate and number of channels, from the file to the finished music."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.decoder_limits import OUT_OF_LIMITS
from musicgen.errors import InvalidInputAudio
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from tests.support.audio_files import make_sines
from tests.support.ffmpeg_files import write_with_ffmpeg

MADE_SECONDS, RATE = 0.5, 32_000
CLIPS = {
    "one sample": (1 / 8000, 1, 8000),
    "a millisecond": (0.001, 2, 44_100),
    "a frame": (0.02, 1, 32_000),
    "8 kHz": (0.3, 1, 8000),
    "192 kHz": (0.3, 2, 192_000),
    "5.1": (0.3, 6, 48_000),
    "silence": (0.3, 1, 44_100),
}


@pytest.fixture(scope="module")
def predictors(
    checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Predictor]:
    folder = tmp_path_factory.mktemp("clips")
    stereo = str(checkpoints("musicgen-stereo-melody"))
    models = {"melody": stereo, "continuation": "demo"}
    return {
        use: Predictor.load(Settings(model=model, data_dir=folder, separation="off"))
        for use, model in models.items()
    }


@pytest.mark.parametrize("use", ["melody", "continuation"])
@pytest.mark.parametrize("kind", ["m4a", "webm"])
def test_the_sound_of_a_phone_or_browser_is_heard(
    predictors: dict[str, Predictor], tmp_path: Path, kind: str, use: str
) -> None:
    clip = make_sines(24_000, 1, 48_000)
    (tmp_path / "clip").write_bytes(write_with_ffmpeg(kind, clip, 48_000))
    request = GenerationRequest(
        prompt="calm piano",
        duration=0.8,
        seed=1,
        top_k=20,
        input_audio=tmp_path / "clip",
        continuation=use == "continuation",
    )
    made, rate = sf.read(predictors[use].generate(request).clips[0].address, always_2d=True)
    assert len(made) == round(0.8 * rate)
    if use == "continuation":
        heard = made[rate // 8 : rate // 4, 0]
        expected = make_sines(rate, 1, rate)[rate // 8 : rate // 4, 0]
        assert np.corrcoef(heard, expected)[0, 1] > 0.9


@pytest.mark.parametrize("use", ["melody", "continuation"])
def test_a_crash_of_a_decoder_ends_no_worker(
    predictors: dict[str, Predictor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crashing_program: Path,
    use: str,
) -> None:
    """Even a wav of a caller is decoded in a process of its own."""
    sf.write(tmp_path / "clip.wav", make_sines(24_000, 1, 48_000), 48_000)
    monkeypatch.setattr(sys, "executable", str(crashing_program))
    request = GenerationRequest(
        prompt="calm piano",
        duration=0.8,
        top_k=20,
        input_audio=tmp_path / "clip.wav",
        continuation=use == "continuation",
    )
    with pytest.raises(InvalidInputAudio, match=OUT_OF_LIMITS):
        predictors[use].generate(request)


@pytest.mark.parametrize("use", ["melody", "continuation"])
@pytest.mark.parametrize("name", CLIPS)
def test_any_clip_is_heard_or_refused_in_words(
    predictors: dict[str, Predictor], tmp_path: Path, name: str, use: str
) -> None:
    seconds, channels, rate = CLIPS[name]
    level = 0.0 if name == "silence" else 0.2
    samples = max(1, round(seconds * rate))
    noise = np.random.default_rng(0).uniform(-level, level, (samples, channels))
    sf.write(tmp_path / "clip.wav", noise, rate)
    request = GenerationRequest(
        prompt="calm piano",
        duration=MADE_SECONDS,
        seed=1,
        top_k=20,
        input_audio=tmp_path / "clip.wav",
        continuation=use == "continuation",
    )
    if use == "continuation" and seconds < 0.02:
        with pytest.raises(InvalidInputAudio, match=r"at least 0.02 s"):
            predictors[use].generate(request)
        return
    clip = predictors[use].generate(request).clips[0]
    pcm, _ = sf.read(clip.address)
    assert len(pcm) == clip.samples == MADE_SECONDS * RATE
    assert np.isfinite(pcm).all()
