"""Requests of style models: the excerpt, its fields, and refusals that say what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen import errors
from musicgen.model.config import MusicGenConfig
from musicgen.model.style.config import StyleConfig
from musicgen.predictor.predictor import Predictor
from musicgen.predictor.prepare import prepare
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from tests.support import style
from tests.support.checkpoints import FamilySpec, build


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> MusicGenConfig:
    folder = tmp_path_factory.mktemp("text")
    build(FamilySpec(), folder)
    return MusicGenConfig.from_folder(folder)


@pytest.fixture(scope="module")
def style_model(text_model: MusicGenConfig) -> MusicGenConfig:
    encoder = StyleConfig.from_json(style.describe_encoder())
    return replace(text_model, family="style", style=encoder)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "band.wav"
    soundfile.write(path, style.draw_recording(), style.SAMPLE_RATE, subtype="FLOAT")
    return path


def _ask(path: Path | None, **fields: Any) -> GenerationRequest:
    return GenerationRequest(prompt="techno", input_audio=path, duration=1, **fields)


def test_the_style_is_the_middle_of_the_recording(
    recording: Path, style_model: MusicGenConfig
) -> None:
    job = prepare(_ask(recording), 0, style_model).job
    rate = style_model.sample_rate
    assert job.style is not None and job.melody is None and job.style.codebooks is None
    assert len(job.style.pcm) == 3 * rate
    if rate == style.SAMPLE_RATE:
        start = int((style.SECONDS - 3) / 2 * rate)
        np.testing.assert_allclose(
            job.style.pcm, style.draw_recording()[start : start + 3 * rate], atol=1e-6
        )


def test_the_fields_reach_the_job(recording: Path, style_model: MusicGenConfig) -> None:
    request = _ask(recording, style_seconds=1.5, style_detail=6, text_guidance=5)
    job = prepare(request, 0, style_model).job
    assert job.style is not None and job.style.codebooks == 6
    assert len(job.style.pcm) == 1.5 * style_model.sample_rate
    assert job.rows[0].sampling.text_guidance == 5.0


def test_a_part_too_short_for_a_style_is_refused(
    recording: Path, style_model: MusicGenConfig
) -> None:
    request = _ask(recording, continuation_start=4)
    with pytest.raises(errors.InvalidInputAudio, match=r"at least 1\.5 s for its style"):
        prepare(request, 0, style_model)


@pytest.mark.parametrize("prompt", ["", " "])
def test_guidance_by_a_text_needs_a_text(recording: Path, prompt: str) -> None:
    """It guided by nothing, and took half as long again."""
    with pytest.raises(errors.InvalidRequest, match="text_guidance needs a prompt"):
        replace(_ask(recording, text_guidance=5), prompt=prompt)
    several = {"prompts": ["techno", prompt]}
    replace(_ask(recording, text_guidance=5), prompt="", **several)


@pytest.mark.parametrize(
    "fields", [{"style_seconds": 2.0}, {"style_detail": 2}, {"text_guidance": 5.0}]
)
def test_a_field_of_the_style_needs_a_style_model_and_audio(
    recording: Path, text_model: MusicGenConfig, fields: dict[str, Any]
) -> None:
    with pytest.raises(errors.InvalidRequest, match="Choose musicgen-style"):
        prepare(_ask(recording, **fields), 0, text_model)
    for others in ({"path": None}, {"path": recording, "continuation": True}):
        with pytest.raises(errors.InvalidRequest, match="needs input_audio, without continuation"):
            _ask(**others, **fields)


def test_guiding_the_text_apart_needs_guidance(recording: Path) -> None:
    with pytest.raises(errors.InvalidRequest, match="needs classifier_free_guidance above 1"):
        _ask(recording, text_guidance=5.0, classifier_free_guidance=1.0)


def test_a_converted_model_answers_a_request(recording: Path, tmp_path: Path) -> None:
    """Request, excerpt, encoder, double guidance, codec and file, in one."""
    folder = style.convert_toy(tmp_path / "toy")
    settings = Settings(model=str(folder), device="cpu", precision="float32")
    with_text, alone = (
        GenerationRequest(prompt=prompt, input_audio=recording, duration=0.5, seed=3, **more)
        for prompt, more in (("techno", {"text_guidance": 5.0, "style_detail": 1}), ("", {}))
    )
    predictor = Predictor.load(settings)
    try:
        results = [predictor.generate(request) for request in (with_text, alone)]
    finally:
        predictor.close()
    assert all(result.seconds == 0.5 for result in results)
    assert all(result.licence.startswith("CC-BY-NC-4.0") for result in results)
