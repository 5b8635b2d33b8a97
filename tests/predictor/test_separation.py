"""A melody is read from what Demucs calls vocals and other, in Demucs' own code on random weights.

Its published weights cannot be had without a network; the model here has the same shape, smaller.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from musicgen import errors
from musicgen.audio.pcm import Pcm
from musicgen.predictor import Predictor, separation
from musicgen.predictor.separation import CACHED_MELODIES, MelodySeparator
from musicgen.request import GenerationRequest
from musicgen.settings import Settings

RATE = 44_100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """FOLDER/NAME of a small Demucs."""
    htdemucs = pytest.importorskip("demucs.htdemucs")
    torch.manual_seed(1)
    shape = {
        "sources": ["drums", "bass", "other", "vocals"],
        "channels": 8,
        "nfft": 1024,
        "t_layers": 1,
        "t_heads": 2,
        "segment": 2,
    }
    made = htdemucs.HTDemucs(**shape)
    folder = tmp_path_factory.mktemp("demucs")
    content = {
        "klass": type(made),
        "args": (),
        "kwargs": shape,
        "state": made.state_dict(),
        "training_args": {},
    }
    torch.save(content, folder / "tiny.th")
    return str(folder / "tiny")


def _recording(seconds: float, rate: int = RATE, channels: int = 2) -> Pcm:
    time = np.arange(round(seconds * rate)) / rate
    sides = [np.sin(2 * np.pi * 220 * (side + 1) * time) for side in range(channels)]
    return (0.3 * np.stack(sides, axis=1)).astype(np.float32)


def test_the_tune_is_vocals_and_other_together(model: str) -> None:
    from demucs.api import Separator

    pcm = _recording(1.5)
    path = Path(model)
    theirs = Separator(path.name, path.parent, device="cpu", shifts=0)
    _, stems = theirs.separate_tensor(torch.from_numpy(np.ascontiguousarray(pcm.T)))
    expected = (stems["vocals"] + stems["other"]).mean(0).detach().numpy()
    melody = MelodySeparator(model, "cpu").extract_melody(pcm, RATE)
    assert melody is not None and melody.shape == (len(pcm), 1)
    np.testing.assert_allclose(melody[:, 0], expected, atol=1e-5)
    everything = sum(stems.values()).mean(0).detach().numpy()  # type: ignore[union-attr]
    assert np.abs(expected - everything).max() > 0.01, "the other stems say something too"


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (32_000, 6), (48_000, 2)])
def test_any_rate_and_channels_come_back_at_their_own_length(
    model: str, rate: int, channels: int
) -> None:
    pcm = _recording(0.7, rate, channels)
    melody = MelodySeparator(model, "cpu").extract_melody(pcm, rate)
    assert melody is not None and melody.shape == (len(pcm), 1) and np.isfinite(melody).all()


def test_silence_has_a_silent_tune(model: str) -> None:
    """Guards the division by its scale, which is NaN music."""
    melody = MelodySeparator(model, "cpu").extract_melody(np.zeros((RATE, 2), np.float32), RATE)
    assert melody is not None and not melody.any() and len(melody) == RATE


def test_a_file_is_taken_apart_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards peers' separation in every window and request; and a store that grows for ever."""
    calls: list[int] = []
    real = separation._separate

    def counted(*args: Any) -> Pcm:
        calls.append(1)
        return real(*args)

    monkeypatch.setattr(separation, "_separate", counted)
    separator = MelodySeparator(model, "cpu")
    clips = [_recording(0.2 + index / 100) for index in range(CACHED_MELODIES + 2)]
    first = separator.extract_melody(clips[0], RATE)
    assert separator.extract_melody(clips[0].copy(), RATE) is first and len(calls) == 1
    for clip in clips[1:]:
        separator.extract_melody(clip, RATE)
    assert len(separator._melodies) == CACHED_MELODIES
    separator.extract_melody(clips[0], RATE)
    assert len(calls) == len(clips) + 1


def test_without_demucs_auto_does_without_and_a_named_model_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(separation, "find_spec", lambda _: None)
    pcm = _recording(0.1)
    assert MelodySeparator("auto", "cpu").extract_melody(pcm, RATE) is None
    assert MelodySeparator("off", "cpu").extract_melody(pcm, RATE) is None
    with pytest.raises(errors.MissingDependency, match=r"\.\[demucs\]"):
        MelodySeparator("htdemucs", "cpu").extract_melody(pcm, RATE)


def test_stems_without_a_model_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed, off, and installed without weights need three different steps."""
    with pytest.raises(errors.SettingsError, match="MUSICGEN_SEPARATION is off"):
        MelodySeparator("off", "cpu").list_stems()
    monkeypatch.setattr(separation, "DEFAULT_MODEL", "no_such_model")
    separator = MelodySeparator("auto", "cpu")
    for _ in range(2):
        with pytest.raises(
            errors.CheckpointNotFound, match="could not load its model no_such_model"
        ):
            separator.list_stems()
    monkeypatch.setattr(separation, "find_spec", lambda _: None)
    with pytest.raises(errors.MissingDependency, match=r"\.\[demucs\]"):
        MelodySeparator("auto", "cpu").list_stems()


def test_a_model_that_cannot_be_had_is_named(model: str) -> None:
    wrong = str(Path(model).parent / "nothing")
    with pytest.raises(errors.SettingsError, match="MUSICGEN_SEPARATION"):
        MelodySeparator(wrong, "cpu").extract_melody(_recording(0.1), RATE)


@pytest.mark.parametrize("separated", [True, False])
def test_the_result_says_where_the_melody_comes_from(
    checkpoints: Any, model: str, tmp_path: Path, separated: bool
) -> None:
    sf.write(tmp_path / "tune.wav", _recording(1.0), RATE)
    settings = Settings(
        model=str(checkpoints("musicgen-melody")),
        data_dir=tmp_path,
        separation=model if separated else "off",
    )
    request = GenerationRequest(
        prompt="x", input_audio=tmp_path / "tune.wav", top_k=20, duration=0.3, seed=1
    )
    notes = " ".join(Predictor.load(settings).generate(request).notes)
    assert ("vocals and other" in notes) == separated
    assert ("whole mix" in notes) != separated
