"""Every input of replicate/cog-musicgen: the same meaning here, a line in the logs, or a sentence.

`PUBLISHED` is written from its predict.py at commit 647e795.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from handlers.cog_callers import translate
from musicgen.checkpoints.locate import locate
from musicgen.model.config import MusicGenConfig
from musicgen.predictor import Predictor
from musicgen.predictor.prepare import prepare
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from tests.support import ROOT
from tests.support.clips import RATE, data_uri, decoded, wav
from tests.support.cog_server import Server

pytest.importorskip("cog")

PUBLISHED: dict[str, Any] = {
    "model_version": "stereo-melody-large",
    "prompt": None,
    "input_audio": None,
    "duration": 8,
    "continuation": False,
    "continuation_start": 0,
    "continuation_end": None,
    "multi_band_diffusion": False,
    "normalization_strategy": "loudness",
    "top_k": 250,
    "top_p": 0.0,
    "temperature": 1.0,
    "classifier_free_guidance": 3,
    "output_format": "wav",
    "seed": None,
}
"""Defaults by name."""
CHOICES = {
    "model_version": ("stereo-melody-large", "stereo-large", "melody-large", "large"),
    "normalization_strategy": ("loudness", "clip", "peak", "rms"),
    "output_format": ("wav", "mp3"),
}
SOUND = {"input_audio": data_uri(wav(1.0)), "continuation": True, "duration": 2}
NO_NOTE = ""
MELODY = replace(MusicGenConfig.from_folder(locate("demo").folder), family="melody")
TAKEN: list[tuple[dict[str, Any], str]] = [
    ({}, NO_NOTE),
    ({"prompt": None, **SOUND}, NO_NOTE),
    ({"prompt": "", **SOUND}, NO_NOTE),
    ({"duration": 1}, NO_NOTE),
    ({**SOUND, "continuation_start": 0, "continuation_end": None}, NO_NOTE),
    ({**SOUND, "continuation_start": 0, "continuation_end": -1}, NO_NOTE),
    ({**SOUND, "continuation_start": 0.25, "continuation_end": 0.5}, NO_NOTE),
    ({"input_audio": None, "continuation_start": 0, "continuation_end": None}, NO_NOTE),
    ({"continuation_start": 3}, "continuation_start has no effect without input_audio"),
    ({"continuation_end": 3}, "continuation_end has no effect without input_audio"),
    ({"multi_band_diffusion": False}, NO_NOTE),
    ({"multi_band_diffusion": True}, "multi_band_diffusion has no effect"),
    *(({"normalization_strategy": name}, NO_NOTE) for name in CHOICES["normalization_strategy"]),
    *(({"top_k": value}, NO_NOTE) for value in (0, 1, 250)),
    *(({"top_p": value}, NO_NOTE) for value in (0, 0.5, 1)),
    *(({"temperature": value}, NO_NOTE) for value in (0, 1, 2.5)),
    *(({"classifier_free_guidance": value}, NO_NOTE) for value in (0, 1, 3, 15)),
    *(({"output_format": name}, NO_NOTE) for name in CHOICES["output_format"]),
    *(({"seed": value}, NO_NOTE) for value in (None, -1, 1, 2**32 - 1)),
    ({"seed": 0}, "the seed 0 is a seed like any other"),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "empty_prompt"),
    ({"prompt": ""}, "empty_prompt"),
    ({"continuation": True}, "invalid_continuation"),
    ({**SOUND, "continuation_start": 3, "continuation_end": 2}, "invalid_continuation"),
    ({**SOUND, "duration": 1}, "invalid_input_audio"),
    ({**SOUND, "continuation": False}, "Choose a melody model"),
    ({"duration": 0}, "0 is less than the minimum"),
    ({"duration": 301}, "301 is greater than the maximum"),
    ({"top_k": -1}, "-1 is less than the minimum"),
    ({"top_p": -0.5}, "is less than the minimum"),
    ({"temperature": -1}, "-1 is less than the minimum"),
    ({"classifier_free_guidance": -1}, "-1 is less than the minimum"),
    ({"classifier_free_guidance": 1e308}, "is greater than the maximum"),
    ({"seed": 2**32}, "is greater than the maximum"),
    # Its README's examples name the prompt `description`, which Cog drops.
    (
        {"prompt": None, "description": "tense staccato strings. dissonant.", "duration": 8},
        "empty_",
    ),
]


def _properties(server: Server) -> dict[str, Any]:
    document = server.client.get("/openapi.json").json()["components"]["schemas"]
    return dict(document["Input"]["properties"])


def test_every_input_is_known_with_its_default_and_choices(plain_cog: Server) -> None:
    properties = _properties(plain_cog)
    assert PUBLISHED.keys() <= properties.keys()
    schemas = plain_cog.client.get("/openapi.json").json()["components"]["schemas"]
    for name, default in PUBLISHED.items():
        if name != "model_version":
            assert properties[name]["default"] == default, name
        assert set(CHOICES.get(name, ())) <= set(schemas.get(name, {}).get("enum", ()))
    assert "MUSICGEN_MODEL=stereo-melody-large" in (ROOT / "cog.yaml").read_text()


def test_null_is_the_default_wherever_the_default_is_null(plain_cog: Server) -> None:
    """Cog's server refuses an explicit null although the schema says `nullable`."""
    properties = _properties(plain_cog)
    nulls = {name: None for name, schema in properties.items() if schema.get("default", 0) is None}
    assert {name for name, default in PUBLISHED.items() if default is None} <= nulls.keys()
    assert {"model_version", "sample_rate", "bpm"} <= nulls.keys()
    del nulls["prompt"]
    answer = plain_cog.succeed(**nulls)
    assert answer["metrics"]["audio_seconds"] == 0.5
    for name in nulls:
        assert plain_cog.post(input={"prompt": "x", name: {}}).status_code == 422


@pytest.mark.parametrize(("fields", "note"), TAKEN, ids=str)
def test_what_is_taken_there_is_taken_here(
    plain_cog: Server, fields: dict[str, Any], note: str
) -> None:
    logs = plain_cog.succeed(**fields)["logs"]
    assert note in logs
    assert len(re.findall("^note: .* (?:no effect|seed like)", logs, re.M)) == bool(note)


@pytest.mark.parametrize(("fields", "text"), REFUSED, ids=str)
def test_anything_else_is_refused_with_a_sentence(
    plain_cog: Server, fields: dict[str, Any], text: str
) -> None:
    body = {"input": {"prompt": "x", "duration": 0.5} | fields}
    answer = plain_cog.ask(json.dumps(body).encode())
    assert answer.status_code == 422 or answer.json()["status"] == "failed"
    assert text in answer.text


def test_the_part_of_a_continuation_is_the_part_there(plain_cog: Server) -> None:
    """There `int(sr * start) : int(sr * end)` of the clip comes first."""
    part = {"continuation_start": 0.25, "continuation_end": 0.75}
    answer = plain_cog.succeed(**SOUND, **part, normalization_strategy="none", seed=1)
    pcm = decoded(answer["output"], "audio/wav", "audio/x-wav")[0]
    sound = decoded(SOUND["input_audio"], "audio/wav", "audio/x-wav")[0]
    assert len(pcm) == 2 * RATE
    begin = slice(0, RATE // 4)
    assert np.abs(pcm[begin] - sound[RATE // 4 : RATE // 2]).max() < 1e-3


@pytest.mark.parametrize(("start", "end"), [(0, None), (0.5, None), (0, 2), (0.5, 2.25), (1, 9)])
def test_a_melody_is_cut_as_there(tmp_path: Path, start: float, end: float | None) -> None:
    """The fields were refused without continuation."""
    path = tmp_path / "melody.wav"
    path.write_bytes(wav(3.0))
    fields, notes = translate(
        {"input_audio": path, "continuation_start": start, "continuation_end": end, "prompt": None}
    )
    assert not notes
    request = GenerationRequest.from_mapping(fields)
    melody = prepare(request, 0, MELODY).job.melody
    whole = prepare(GenerationRequest(input_audio=path), 0, MELODY)
    assert melody is not None and whole.job.melody is not None
    last = None if end is None else int(RATE * end)
    assert np.array_equal(melody, whole.job.melody[int(RATE * start) : last])


def test_no_guidance_at_all_ignores_the_prompt(tmp_path: Path) -> None:
    """audiocraft: uncond + (cond - uncond) * 0."""
    predictor = Predictor.load(Settings(data_dir=tmp_path, threads=1, model="demo"))

    def make(**fields: Any) -> bytes:
        request = GenerationRequest(duration=1, seed=3, **fields)
        return sf.read(predictor.generate(request).clips[0].address)[0].tobytes()

    bells, drums = (
        make(prompt=text, classifier_free_guidance=0) for text in ("slow calm piano", "fast drums")
    )
    most = {
        make(prompt=text, classifier_free_guidance=0.9)
        for text in ("slow calm piano", "fast drums")
    }
    assert bells == drums and bells not in most and len(most) == 2


def test_the_table_of_the_documentation_has_every_input() -> None:
    text = (ROOT / "docs" / "cog_musicgen.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    documented = {name for row in rows for name in re.findall("`(\\w+)`", row)}
    assert documented == PUBLISHED.keys()
