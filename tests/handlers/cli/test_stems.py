"""`musicgen stems` writes each stem, in Demucs' own code on random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

from handlers.cli.main import main
from musicgen.audio.encode import encode
from musicgen.audio.tags import AudioTags, read_tags
from musicgen.audio.tempo import Tempo
from musicgen.predictor import separation
from musicgen.predictor.separation import MelodySeparator
from musicgen.request import AudioFormat

RATE = 32_000
SOURCES = ["drums", "bass", "other", "vocals"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """FOLDER/NAME of a small Demucs."""
    htdemucs = pytest.importorskip("demucs.htdemucs")
    torch.manual_seed(1)
    shape = {"sources": SOURCES, "channels": 8, "nfft": 1024, "t_layers": 1, "t_heads": 2}
    shape["segment"] = 2
    made = htdemucs.HTDemucs(**shape)
    content = {"klass": type(made), "args": (), "kwargs": shape, "training_args": {}}
    folder = tmp_path_factory.mktemp("demucs")
    torch.save({**content, "state": made.state_dict()}, folder / "tiny.th")
    return str(folder / "tiny")


def _write_clip(path: Path, channels: int, tempo: Tempo | None) -> None:
    time = np.arange(RATE) / RATE
    tone = (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)
    tags = AudioTags("techno", 7, "demo", "Apache-2.0", "test", tempo=tempo)
    pcm = np.repeat(tone[:, None], channels, axis=1)
    path.write_bytes(encode(pcm, AudioFormat(path.suffix[1:], sample_rate=RATE), tags))


@pytest.mark.parametrize(("channels", "form"), [(1, "wav"), (2, "flac")])
def test_each_stem_is_a_file_with_the_tags_of_the_clip(
    model: str,
    channels: int,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MUSICGEN_SEPARATION", model)
    monkeypatch.setenv("MUSICGEN_DEVICE", "cpu")
    tempo = Tempo(120, 2, True)
    _write_clip(tmp_path / "clip.flac", channels, tempo)
    output = tmp_path / "stems"
    command = ["stems", str(tmp_path / "clip.flac"), "-o", str(output), "--format", form]
    assert main(command) == 0
    paths = [output / f"clip-{name}.{form}" for name in SOURCES]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    sounds = []
    for name, path in zip(SOURCES, paths, strict=True):
        sound, rate = sf.read(path, always_2d=True)
        assert (sound.shape, rate) == ((RATE, channels), RATE)
        sounds.append(sound)
        tags = read_tags(path)
        assert tags is not None
        assert (tags.prompt, tags.licence, tags.tempo) == (f"techno ({name})", "Apache-2.0", tempo)
    assert np.abs(sounds[0] - sounds[1]).max() > 1e-4, "stems differ"


def test_a_loop_is_separated_as_it_repeats(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_SEPARATION", model)
    monkeypatch.setenv("MUSICGEN_DEVICE", "cpu")
    repeated = []
    for name, tempo in (("loop", Tempo(120, 2, True)), ("plain", Tempo(120, 2))):
        _write_clip(tmp_path / f"{name}.flac", 2, tempo)
        assert main(["stems", str(tmp_path / f"{name}.flac")]) == 0
        rounds = np.tile(sf.read(tmp_path / f"{name}.flac", dtype="float32")[0], (5, 1))
        expected = MelodySeparator(model, "cpu").separate(rounds, RATE)["other"]
        found = sf.read(tmp_path / f"{name}-other.wav", dtype="float32")[0]
        repeated.append(np.allclose(found, expected[2 * RATE : 3 * RATE], atol=1e-6))
    assert repeated == [True, False]


def test_an_unknown_model_and_a_missing_file_are_plain_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MUSICGEN_SEPARATION", str(tmp_path / "none"))
    assert main(["stems", str(tmp_path / "none.wav")]) == 2
    _write_clip(tmp_path / "clip.wav", 1, None)
    assert main(["stems", str(tmp_path / "clip.wav")]) != 0
    assert "MUSICGEN_SEPARATION" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]


@pytest.mark.parametrize("setting", [None, "off"])
def test_missing_weights_are_not_the_fault_of_a_setting(
    setting: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guards an error about MUSICGEN_SEPARATION, which nobody has set to a model."""
    pytest.importorskip("demucs")
    monkeypatch.setattr(separation, "DEFAULT_MODEL", "no_such_model")
    monkeypatch.delenv("MUSICGEN_SEPARATION", raising=False)
    if setting is not None:
        monkeypatch.setenv("MUSICGEN_SEPARATION", setting)
    _write_clip(tmp_path / "clip.wav", 1, None)
    assert main(["stems", str(tmp_path / "clip.wav")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("musicgen: Demucs could not load its model no_such_model: ")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.wav"]
