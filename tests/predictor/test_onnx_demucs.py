"""Stems from a model in ONNX, loaded as an exported Demucs is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from musicgen import errors
from musicgen.audio.pcm import Pcm
from musicgen.predictor.onnx_demucs import OnnxDemucs
from musicgen.predictor.separation import MelodySeparator
from tests.support.onnx_stems import SEGMENT, write_model

RATE = 44_100


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("onnx") / "bands.onnx")


def _record(samples: int, channels: int = 2) -> Pcm:
    noise = np.random.default_rng(1).standard_normal((samples, channels))
    return (0.1 * noise + 0.05).astype(np.float32)


@pytest.mark.parametrize("samples", [1, 1000, SEGMENT, SEGMENT + 1, 3 * SEGMENT + 17])
def test_stems_of_any_length_add_up_to_the_recording(model: Path, samples: int) -> None:
    pcm = _record(samples)
    stems = OnnxDemucs(model).separate(pcm)
    assert list(stems) == ["drums", "bass", "other", "vocals"]
    np.testing.assert_allclose(sum(stems.values()), pcm, atol=1e-5)


def test_segments_join_without_a_seam(model: Path) -> None:
    """A filter over the whole recording, except for the ends of segments, is the same."""
    time = np.arange(4 * SEGMENT) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    stems = OnnxDemucs(model).separate(np.stack([tone, tone], axis=1))
    heard = stems["drums"][200:-200, 0]
    np.testing.assert_allclose(heard, tone[200:-200], atol=2e-3)
    assert np.abs(stems["vocals"][200:-200]).max() < 2e-3


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 1), (44_100, 2), (48_000, 2)])
def test_the_setting_takes_a_file(model: Path, rate: int, channels: int) -> None:
    pcm = _record(rate // 2, channels)
    separator = MelodySeparator(str(model), "cpu")
    assert separator.list_stems() == ("drums", "bass", "other", "vocals")
    stems = separator.separate(pcm, rate)
    assert all(stem.shape == pcm.shape for stem in stems.values())
    melody = separator.extract_melody(pcm, rate)
    assert melody is not None and melody.shape == (len(pcm), 1)
    silence = separator.separate(np.zeros_like(pcm), rate)
    assert not any(stem.any() for stem in silence.values())


def test_six_stems_have_their_names(tmp_path: Path) -> None:
    found = OnnxDemucs(write_model(tmp_path / "six.onnx", stems=6)).sources
    assert found == ("drums", "bass", "other", "vocals", "guitar", "piano")


@pytest.mark.parametrize("stems", [2, 5])
def test_another_model_is_refused(tmp_path: Path, stems: int) -> None:
    path = write_model(tmp_path / "other.onnx", stems=stems)
    with pytest.raises(errors.SettingsError, match=r"other.onnx must have an input"):
        OnnxDemucs(path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    with pytest.raises(errors.SettingsError, match=r"none\.onnx is not an existing file"):
        MelodySeparator(str(path), "cpu").list_stems()
    for content in (b"", b"RIFF"):
        path.write_bytes(content)
        with pytest.raises(errors.SettingsError, match=r"none\.onnx cannot be loaded"):
            MelodySeparator(str(path), "cpu").list_stems()
