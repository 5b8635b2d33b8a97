"""The JSON beside the clips says how each was made, and is kept or lost with them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from handlers.cli import main as cli
from musicgen import errors
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Delivery, Settings
from musicgen.storage.base import ClipName
from musicgen.storage.local import LocalStorage


@pytest.fixture(scope="module")
def demo() -> Predictor:
    return Predictor.load(Settings(manifest=True))


def _with(demo: Predictor, storage: LocalStorage) -> Predictor:
    return Predictor(demo.engine, demo._source, Settings(manifest=True), storage)


def test_it_says_what_the_files_are_and_what_they_were_made_of(
    demo: Predictor, tmp_path: Path
) -> None:
    sf.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(16_000) / 9), 32_000)
    request = GenerationRequest(
        prompt="piano",
        duration=0.8,
        variations=2,
        input_audio=tmp_path / "a.wav",
        continuation=True,
        seed=5,
    )
    result = _with(demo, LocalStorage(tmp_path / "out")).generate(request, "job-1")
    assert result.manifest is not None
    content = json.loads(Path(result.manifest).read_text())
    assert Path(result.manifest).parent == Path(result.clips[0].address).parent
    for told, clip in zip(content["clips"], result.clips, strict=True):
        data = Path(clip.address).read_bytes()
        assert told["sha256"] == clip.sha256 == hashlib.sha256(data).hexdigest()
        assert told["bytes"] == len(data)
        assert (told["seed"], told["prompt"]) == (clip.seed, "piano")
    assert (content["job_id"], content["model"], content["licence"]) == (
        "job-1",
        "demo",
        "Apache-2.0",
    )
    assert set(content["versions"]) == {"musicgen", "torch"}
    asked = content["request"]
    heard = hashlib.sha256((tmp_path / "a.wav").read_bytes()).hexdigest()
    assert asked.pop("input_audio") == {"sha256": heard}
    assert asked == {
        "prompt": "piano",
        "duration": 0.8,
        "variations": 2,
        "continuation": True,
        "seed": 5,
    }


def test_its_request_makes_the_clips_again(demo: Predictor, tmp_path: Path) -> None:
    predictor = _with(demo, LocalStorage(tmp_path))
    sections = [{"prompt": "bells", "duration": 0.5}, {"prompt": "bass", "duration": 0.5}]
    result = predictor.generate(GenerationRequest.from_mapping({"sections": sections, "seed": 1}))
    asked = json.loads(Path(result.manifest or "").read_text())["request"]
    again = predictor.generate(GenerationRequest.from_mapping(asked))
    assert again.clips[0].sha256 == result.clips[0].sha256


class _NoRoomForJson(LocalStorage):
    def put(
        self,
        name: ClipName,
        blocks: Iterable[bytes],
        content_type: str,
        metadata: Mapping[str, str],
    ) -> str:
        if name.extension == "json":
            raise errors.DiskFull("no room")
        return super().put(name, blocks, content_type, metadata)


def test_a_job_without_its_manifest_is_not_kept(demo: Predictor, tmp_path: Path) -> None:
    predictor = _with(demo, _NoRoomForJson(tmp_path / "out"))
    with pytest.raises(errors.DiskFull):
        predictor.generate(GenerationRequest(prompt="x", duration=0.2))
    assert not list((tmp_path / "out").iterdir())


def test_an_answer_with_the_clips_inside_has_none(demo: Predictor) -> None:
    result = demo.start(
        GenerationRequest(prompt="x", duration=0.2), delivery=Delivery(None)
    ).result()
    assert result.manifest is None and len(result.clips) == 1


def test_the_command_line_puts_it_beside_the_file(tmp_path: Path) -> None:
    command = ["generate", "x", "--duration", "0.2", "--variations", "2", "--manifest", "-o"]
    assert cli.main([*command, str(tmp_path / "a.wav")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-1.wav", "a-2.wav", "a.json"]
    assert cli.main([*command[:4], "-o", str(tmp_path / "b.wav")]) == 0
    assert not (tmp_path / "b.json").exists()
