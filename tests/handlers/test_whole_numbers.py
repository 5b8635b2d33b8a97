"""A whole number as a fraction (44100.0) is an integer, or refused at once, on every platform.

JSON Schema calls it an integer, and Python's json and Cog's server both pass it on as a float.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handlers.cli.main import main as run_cli
from handlers.cog_run import CogRun
from handlers.hf_endpoint import EndpointCalls
from handlers.input_audio import open_input_audio
from handlers.job_api.api.accept import accept
from handlers.job_api.api.request_schema import JOB_FIELDS
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.models import AvailableModels
from handlers.runpod_job import RunPodJobs
from musicgen.errors import InvalidRequest
from musicgen.remote.fields import build_fields
from musicgen.request import GenerationRequest, request_fields
from musicgen.request.fields import FieldSpec
from musicgen.settings import Settings
from tests.support.clips import data_uri, wav
from tests.support.cog_server import Server
from tests.support.fake_predictor import FakePredictor

INTEGERS = [spec for spec in request_fields().values() if spec.is_whole]
COMPANIONS: dict[str, dict[str, Any]] = {
    "bitrate": {"output_format": "mp3"},
    "beats_per_bar": {"loop": True, "bpm": 120},
    "style_detail": {"input_audio": data_uri(wav(2.0))},
}
Ask = Callable[[FakePredictor, dict[str, Any]], None]


def _cog(predictor: FakePredictor, fields: dict[str, Any]) -> None:
    run = CogRun(predictor, predictor.folder, write_line=lambda _: None)
    asyncio.run(run.generate(fields, lambda *_: None))


def _runpod(predictor: FakePredictor, fields: dict[str, Any]) -> None:
    reply = asyncio.run(RunPodJobs(predictor, Settings()).handle({"id": "j", "input": fields}))
    assert "error" not in reply, reply


def _hugging_face(predictor: FakePredictor, fields: dict[str, Any]) -> None:
    EndpointCalls(predictor, Settings()).handle({"inputs": fields})


def _hugging_face_query(predictor: FakePredictor, fields: dict[str, Any]) -> None:
    """A body of audio, and the fields in the address."""
    texts = {k: str(value).lower() for k, value in fields.items() if k != "input_audio"}
    body = {"inputs": wav(0.1), "parameters": texts}
    EndpointCalls(predictor, Settings()).handle(body)


def _job_api(predictor: FakePredictor, fields: dict[str, Any]) -> None:
    models = AvailableModels("demo", frozenset(), frozenset(), {}, {})
    job = accept(fields, models, "one", JobFiles(predictor.folder))
    # The sound is kept apart from the other fields, and the worker joins them.
    sent = json.loads(json.dumps(job.request))
    if "input_audio" in fields:
        sent["input_audio"] = predictor.folder
    predictor.start(GenerationRequest.from_mapping(sent))


def _remote(predictor: FakePredictor, fields: dict[str, Any]) -> None:
    with open_input_audio(fields) as fetched:
        sent = json.dumps(build_fields(GenerationRequest.from_mapping(fetched)))
    assert ".0" not in sent.replace(": 120.0", "")
    with open_input_audio(json.loads(sent)) as fetched:
        predictor.start(GenerationRequest.from_mapping(fetched))


PLATFORMS: dict[str, Ask] = {
    "cog": _cog,
    "runpod": _runpod,
    "hugging face": _hugging_face,
    "hugging face, in the address": _hugging_face_query,
    "job api": _job_api,
    "remote": _remote,
}


@pytest.mark.parametrize("ask", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("spec", INTEGERS, ids=lambda spec: spec.name)
def test_a_fraction_without_a_rest_is_the_integer(
    tmp_path: Path, spec: FieldSpec, ask: Ask
) -> None:
    """`sample_rate: 44100.0` decoded a whole clip and failed then."""
    predictor, value = FakePredictor(tmp_path), _choose_value(spec)
    ask(predictor, {"prompt": "x", **COMPANIONS.get(spec.name, {}), spec.name: float(value)})
    [request] = predictor.requests
    found = getattr(request, spec.name)
    assert found == value and type(found) is int


@pytest.mark.parametrize("value", [1.5, True, float("inf"), float("nan"), 1e300, "1"], ids=str)
@pytest.mark.parametrize("spec", INTEGERS, ids=lambda spec: spec.name)
def test_any_other_number_is_refused_at_once(spec: FieldSpec, value: object) -> None:
    fields = {"prompt": "x", **COMPANIONS.get(spec.name, {}), spec.name: value}
    with open_input_audio(fields) as fetched, pytest.raises(InvalidRequest, match=spec.name):
        GenerationRequest.from_mapping(fetched)


@pytest.mark.parametrize(
    "name", [name for name, schema in JOB_FIELDS.items() if schema["type"] == "integer"]
)
def test_fields_of_a_job_as_well(tmp_path: Path, name: str) -> None:
    models = AvailableModels("demo", frozenset(), frozenset(), {}, {})
    job = accept({"prompt": "x", name: 3.0}, models, "one", JobFiles(tmp_path))
    assert getattr(job, name) == 3 and type(getattr(job, name)) is int
    with pytest.raises(InvalidRequest, match=name):
        accept({"prompt": "x", name: 3.5}, models, "one", JobFiles(tmp_path))


@pytest.mark.parametrize(
    "spec", [spec for spec in INTEGERS if spec.option], ids=lambda spec: spec.name
)
def test_the_command_line_refuses_it_at_once(
    spec: FieldSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run_cli(["generate", "x", spec.option, f"{_choose_value(spec)}.0"])
    assert end.value.code == 2 and spec.option in capsys.readouterr().err


def test_cogs_server_takes_every_one(plain_cog: Server) -> None:
    """But `style_detail`, which the demo refuses after it was read."""
    fields = {"seed": 7, "top_k": 50, "beats_per_bar": 3, "sample_rate": 44_100, "bitrate": 128}
    assert {spec.name for spec in INTEGERS if spec.on_cog} == {*fields, "style_detail"}
    others = {"output_format": "mp3", "loop": True, "bpm": 120}
    whole = plain_cog.succeed(**fields, **others)
    fractions = {name: float(value) for name, value in fields.items()}
    assert plain_cog.succeed(**fractions, **others)["output"] == whole["output"]
    answer = plain_cog.post(input={"prompt": "x", "sample_rate": 44_100.5})
    assert answer.status_code == 422


def _choose_value(spec: FieldSpec) -> int:
    return int(spec.choices[-1] if spec.choices else spec.example[spec.name])
