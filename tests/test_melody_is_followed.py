"""A melody model plays what it hears: measured on a toy that was trained to (`training.melody`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from musicgen.model.chroma import compute_chroma
from musicgen.model.config import MusicGenConfig
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from training.melody.notes import melody

TOY = Path(__file__).parent / "data" / "melody-toy"
SECONDS, RATE = 12, 32_000
WINDOW_CHROMA = 40
"""Frames of chroma in the first of its windows of five seconds."""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    out = tmp_path_factory.mktemp("clips")
    return Predictor.load(Settings(model=str(TOY), data_dir=out, separation="off"))


def _tune(seed: int) -> np.ndarray:
    return melody(SECONDS * 50, np.random.default_rng(seed))


def _pitches(pcm: np.ndarray, config: MusicGenConfig) -> torch.Tensor:
    """The pitch class of each frame, (frames,)."""
    return torch.from_numpy(compute_chroma(pcm[:, None], config)).argmax(dim=1)


def _made(toy: Predictor, tune: np.ndarray, path: Path, **fields: object) -> np.ndarray:
    sf.write(path, tune, RATE)
    usual = {"prompt": "", "duration": SECONDS, "seed": 3, "input_audio": path}
    clip = toy.generate(GenerationRequest(**usual | fields)).clips[0]
    return sf.read(clip.address, dtype="float32")[0]


@pytest.mark.parametrize(
    "fields", [{}, {"classifier_free_guidance": 1.0}, {"prompt": "calm piano"}]
)
def test_the_music_has_the_pitches_of_the_tune_in_every_window(
    toy: Predictor, tmp_path: Path, fields: dict[str, object]
) -> None:
    tune = _tune(100)
    made = _made(toy, tune, tmp_path / "tune.wav", **fields)
    wanted, heard = (_pitches(pcm, toy.engine.config) for pcm in (tune, made))
    same = (wanted == heard).float()
    assert same[:WINDOW_CHROMA].mean() > 0.8
    assert same[WINDOW_CHROMA:].mean() > 0.8
    other = _pitches(_tune(150), toy.engine.config)
    assert (other == heard).float().mean() < 0.3


def test_a_tune_is_followed_from_any_rate_and_channels(toy: Predictor, tmp_path: Path) -> None:
    tune = _tune(7)
    at_48k = np.interp(np.arange(0, len(tune), 32 / 48), np.arange(len(tune)), tune)
    path = tmp_path / "stereo.flac"
    sf.write(path, np.stack([at_48k, at_48k], axis=1), 48_000)
    request = GenerationRequest(prompt="", duration=5, seed=3, input_audio=path)
    made = sf.read(toy.generate(request).clips[0].address, dtype="float32")[0]
    wanted, heard = (_pitches(pcm[: 5 * RATE], toy.engine.config) for pcm in (tune, made))
    assert (wanted == heard).float().mean() > 0.8
