"""Stems and notes beside a clip, as a request asks for them."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import soundfile as sf

from handlers.cli.main import main
from handlers.reply import build_reply
from musicgen.audio.tags import read_tags
from musicgen.errors import InvalidRequest
from musicgen.midi import packages
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Delivery, Settings
from tests.support.onnx_stems import write_model
from tests.support.signing_keys import make_keys

STEMS = ["drums", "bass", "other", "vocals"]
needs_model = pytest.mark.skipif(
    packages.find_missing() is not None, reason="basic-pitch's model is not installed"
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("parts")
    model = write_model(folder / "bands.onnx")
    return Settings(model="demo", data_dir=folder, separation=str(model), manifest=True)


@pytest.fixture(scope="module")
def predictor(settings: Settings) -> Predictor:
    return Predictor.load(settings)


def _request(**fields: Any) -> GenerationRequest:
    usual = {"prompt": "slow high bells melody", "duration": 1, "seed": 3, "bit_depth": "float"}
    return GenerationRequest(**usual | fields)


def test_stems_lie_beside_their_clip_and_add_up_to_it(predictor: Predictor) -> None:
    result = predictor.generate(_request(stems=True, variations=2, output_format="wav"))
    assert result.timings.parts > 0
    for number, clip in enumerate(result.clips, start=1):
        path = Path(clip.address)
        assert [part.name for part in clip.parts] == STEMS
        for part in clip.parts:
            stem = Path(part.address)
            assert (stem.parent, stem.name) == (path.parent, f"clip-{number}-{part.name}.wav")
            assert hashlib.sha256(stem.read_bytes()).hexdigest() == part.sha256
            assert (len(stem.read_bytes()), part.content_type) == (part.bytes, "audio/wav")
            tags = read_tags(stem)
            assert tags is not None and tags.prompt == f"slow high bells melody ({part.name})"
            assert tags.seed == clip.seed
        total = sum(sf.read(part.address, dtype="float32")[0] for part in clip.parts)
        np.testing.assert_allclose(total, sf.read(path, dtype="float32")[0], atol=0.02)
    manifest = json.loads(Path(result.manifest or "").read_text())
    described = manifest["clips"][1]["parts"]
    assert [part["sha256"] for part in described] == [p.sha256 for p in result.clips[1].parts]
    assert "address" not in described[0]


@pytest.mark.parametrize("form", ["flac", "mp3", "ogg", "opus"])
def test_stems_have_the_format_of_the_clip(predictor: Predictor, form: str) -> None:
    fields = {"output_format": form, "bit_depth": "16", "stems": True, "duration": 0.5}
    (clip,) = predictor.generate(_request(**fields)).clips
    kinds = {sf.info(part.address).format for part in clip.parts}
    assert kinds == {sf.info(clip.address).format}


@needs_model
def test_notes_have_the_tempo_of_the_request(predictor: Predictor) -> None:
    (clip,) = predictor.generate(_request(midi=True, bpm=75, duration=2)).clips
    (part,) = clip.parts
    assert (part.name, part.content_type) == ("midi", "audio/midi")
    assert Path(part.address).name == "clip.mid"
    file = mido.MidiFile(part.address)
    tempo = next(message.tempo for message in file.tracks[0] if message.type == "set_tempo")
    assert mido.tempo2bpm(tempo) == pytest.approx(75)


def test_a_reply_without_a_bucket_holds_the_stems(predictor: Predictor) -> None:
    request = _request(stems=True, duration=0.3, bit_depth="16")
    result = predictor.start(request, delivery=Delivery(None)).result()
    reply = build_reply(result)
    json.dumps(reply)
    parts = reply["clips"][0]["parts"]
    assert [part["name"] for part in parts] == STEMS
    sound, _ = sf.read(io.BytesIO(base64.b64decode(parts[0]["audio"])))
    assert len(sound) == result.clips[0].samples and "address" not in parts[0]


def test_a_machine_without_the_model_refuses_before_any_music(
    settings: Settings, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = Predictor(
        predictor.engine, predictor._source, replace(settings, separation="off"), predictor._storage
    )
    with pytest.raises(InvalidRequest, match=r"stems cannot be made .*MUSICGEN_SEPARATION is off"):
        next(without.start(_request(stems=True)))
    monkeypatch.setattr(packages, "_find_missing_package", lambda: "mido")
    with pytest.raises(InvalidRequest, match=r"midi cannot be made .*\.\[midi\]"):
        next(without.start(_request(midi=True)))


def test_the_command_writes_stems_beside_the_clip(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUSICGEN_SEPARATION", settings.separation)
    monkeypatch.setenv("MUSICGEN_DEVICE", "cpu")
    output = tmp_path / "music.flac"
    command = ["generate", "bells", "--model", "demo", "--duration", "0.5", "-o", str(output)]
    assert main([*command, "--format", "flac", "--stems"]) == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(["music.flac", *(f"music-{stem}.flac" for stem in STEMS)])


def test_stems_are_signed_like_their_clip(settings: Settings, tmp_path: Path) -> None:
    keys = make_keys(tmp_path)
    signing = Predictor.load(replace(settings, credentials=keys.settings))
    clip = signing.generate(_request(stems=True, output_format="flac")).clips[0]
    for part in clip.parts:
        data = Path(part.address).read_bytes()
        assert hashlib.sha256(data).hexdigest() == part.sha256
        assert keys.read(data).state == "trusted", part.name
