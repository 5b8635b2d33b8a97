"""One request, whoever brings it: the same fields, defaults, limits and words on every platform."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers.cog_run import CogRun, PredictionError
from handlers.contract import describe_error
from handlers.hf_endpoint import EndpointCalls, EndpointError
from handlers.modal_calls import ModalCalls
from handlers.model_server.app import ModelServer, make_app
from handlers.runpod_job import RunPodJobs
from infra.replicate.predict_inputs import read_inputs
from musicgen import errors
from musicgen.errors import MusicGenError
from musicgen.request import GenerationRequest, limits, request_fields
from musicgen.request.fields import FieldSpec
from musicgen.settings import ModelServerSettings, Settings
from tests.support import ROOT
from tests.support.fake_predictor import FakePredictor

COG = {field.name: field for field in read_inputs((ROOT / "predict.py").read_text(), "Runner")}
# Each just beyond the limit, or of a wrong type.
BEYOND: list[dict[str, Any]] = [
    {"prompt": ""},
    {"prompt": "a lone \ud800"},
    {"prompt": "x" * (limits.PROMPT_MAX_CHARACTERS + 1)},
    {"duration": limits.DURATION_MAX_SECONDS + 0.01},
    {"duration": limits.DURATION_MIN_SECONDS - 0.01},
    {"duration": "5"},
    {"duration": True},
    {"seed": -2},
    {"seed": limits.SEED_MAX + 1},
    {"variations": 0},
    {"variations": limits.VARIATIONS_MAX + 1},
    {"top_k": -1},
    {"top_k": limits.TOP_K_MAX + 1},
    {"top_p": 1.01},
    {"temperature": -0.1},
    {"temperature": float("nan")},
    {"classifier_free_guidance": -0.1},
    {"continuation": True},
    {"continuation": "yes"},
    {"continuation_start": -1.0},
    {"continuation": True, "continuation_start": 2.0, "continuation_end": 1.0},
    {"continuation_end": -2.0},
    {"input_audio": "/etc/hostname"},
    {"input_audio": "http://127.0.0.1:9/clip.wav"},
    {"input_audio": 7},
    {"normalization_strategy": "loud"},
    {"output_format": "wma"},
    {"bit_depth": "8"},
    {"bit_depth": 16},
    {"model_version": "OWNER/NAME"},
    {"tempo": 120},
    {"extend_stride": limits.STRIDE_MAX_SECONDS + 0.1},
    {"negative_prompt": "x" * (limits.PROMPT_MAX_CHARACTERS + 1)},
    {"sections": "[]"},
    {"sections": r'[{"prompt": "\ud800", "duration": 2}]'},
    {"prompts": r'["\ud800"]', "prompt": ""},
    {"negative_prompt": "\ud800"},
    {"model_version": "\ud800"},
    {"loop": True},
    {"bpm": limits.BPM_MAX + 1},
    {"beats_per_bar": limits.BEATS_MAX + 1},
    {"fade_in": limits.FADE_MAX_SECONDS + 0.1},
    {"fade_out": 9.0},
    {"trim_silence": "yes"},
    {"steady_level": "yes"},
    {"decoder": "diffusion"},
    {"style_seconds": limits.STYLE_MAX_SECONDS + 0.1},
    {"style_detail": limits.STYLE_MAX_DETAIL + 1},
    {"text_guidance": 3.0},
    {"target_loudness": limits.LOUDNESS_MAX_LUFS + 0.1},
    {"true_peak_ceiling": limits.TRUE_PEAK_MAX_DBTP + 0.1},
    {"true_peak_ceiling": -2, "normalization_strategy": "none"},
    {"sample_rate": 22_050},
    {"bitrate": 128},
    {"save_tokens": True, "output_format": "mp3"},
    {"stems": "drums"},
    {"midi": 1},
]
Ask = Callable[[FakePredictor, dict[str, Any]], str | None]
"""Runs a request on one platform and returns the error that its caller reads, None of success."""


def _cog(predictor: FakePredictor, given: dict[str, Any]) -> str | None:
    defaults = {k: v.options["default"] for k, v in COG.items() if "default" in v.options}
    run = CogRun(predictor, predictor.folder, write_line=lambda _: None)
    try:
        asyncio.run(run.generate(defaults | given, lambda *_: None))
    except PredictionError as error:
        return str(error)
    return None


def _runpod(predictor: FakePredictor, given: dict[str, Any]) -> str | None:
    reply = asyncio.run(RunPodJobs(predictor, Settings()).handle({"id": "j", "input": given}))
    return reply.get("error")


def _hugging_face(predictor: FakePredictor, given: dict[str, Any]) -> str | None:
    parameters = dict(given)
    try:
        EndpointCalls(predictor, Settings()).handle(
            {"inputs": parameters.pop("prompt"), "parameters": parameters}
        )
    except EndpointError as error:
        return str(error)
    return None


def _model_server(predictor: FakePredictor, given: dict[str, Any]) -> str | None:
    async def send() -> httpx.Response:
        server = ModelServer(Settings(), ModelServerSettings())
        server.open(predictor)
        app = make_app(server, nullcontext, ModelServerSettings())
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://model") as client:
            kind = {"Content-Type": "application/json"}
            return await client.post("/invocations", content=json.dumps(given), headers=kind)

    answer = asyncio.run(send()).json()
    error = answer.get("error")
    return None if error is None else f"{error['code']}: {error['message']}"


def _modal(predictor: FakePredictor, given: dict[str, Any]) -> str | None:
    reply = asyncio.run(ModalCalls(predictor, Settings()).generate(given))
    return reply.get("error")


EVERYWHERE = [
    spec for spec in request_fields().values() if spec.on_cog and "input_audio" not in spec.example
]
"""Fields of every platform that need no sound."""
WITH_SOUND = [spec for spec in request_fields().values() if "input_audio" in spec.example]
NOT_ON_COG = [spec for spec in request_fields().values() if not spec.on_cog]

PLATFORMS: dict[str, Ask] = {
    "cog": _cog,
    "runpod": _runpod,
    "hugging face": _hugging_face,
    "model server": _model_server,
    "modal": _modal,
}

OTHERS = {name: ask for name, ask in PLATFORMS.items() if name != "cog"}


@pytest.fixture
def predictor(tmp_path: Path) -> FakePredictor:
    return FakePredictor(tmp_path)


@pytest.mark.parametrize("ask", PLATFORMS.values(), ids=PLATFORMS)
def test_defaults_are_those_of_a_request(predictor: FakePredictor, ask: Ask) -> None:
    assert ask(predictor, {"prompt": "x"}) is None
    assert predictor.requests == [GenerationRequest(prompt="x")]


@pytest.mark.parametrize("ask", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("spec", EVERYWHERE, ids=lambda spec: spec.name)
def test_every_field_reaches_the_predictor_as_it_was_sent(
    predictor: FakePredictor, ask: Ask, spec: FieldSpec
) -> None:
    payload = {"prompt": "x", **spec.example}
    if "sections" in payload:
        payload["sections"] = json.dumps(payload["sections"])
    assert ask(predictor, payload) is None
    assert predictor.requests == [GenerationRequest.from_mapping(payload)]


@pytest.mark.parametrize("ask", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("spec", NOT_ON_COG, ids=lambda spec: spec.name)
def test_a_field_that_cog_lacks_reaches_the_predictor_elsewhere(
    predictor: FakePredictor, ask: Ask, spec: FieldSpec
) -> None:
    payload = {"prompt": "" if spec.name == "prompts" else "x", **spec.example}
    assert ask(predictor, payload) is None
    assert predictor.requests == [GenerationRequest.from_mapping(payload)]


@pytest.mark.parametrize("ask", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("spec", WITH_SOUND, ids=lambda spec: spec.name)
def test_a_field_of_a_sound_reaches_the_predictor(
    predictor: FakePredictor, ask: Ask, spec: FieldSpec
) -> None:
    sound = {"input_audio": "data:audio/wav;base64,UklGRg=="}
    assert ask(predictor, {"prompt": "x", **spec.example} | sound) is None
    (request,) = predictor.requests
    assert isinstance(request.input_audio, Path)
    given = {"prompt": "x", **spec.example, "input_audio": request.input_audio}
    assert request == GenerationRequest.from_mapping(given)


def test_every_field_has_a_value_to_refuse() -> None:
    """Guards against a new field whose limit only some platforms know."""
    assert set(request_fields()) <= {name for given in BEYOND for name in given}


@pytest.mark.parametrize("given", BEYOND, ids=str)
def test_every_platform_refuses_the_same_in_the_same_words(
    predictor: FakePredictor, given: dict[str, Any]
) -> None:
    texts = {name: ask(predictor, {"prompt": "x"} | given) for name, ask in PLATFORMS.items()}
    assert len(set(texts.values())) == 1, texts
    text = texts["runpod"]
    assert text is not None and text.partition(":")[0] in _codes(errors.InvalidRequest)
    assert predictor.requests == []


OF_THE_REQUEST = (
    *(errors.InvalidRequest, errors.GenerationError, errors.InlineTooLarge),
    errors.MissingDependency,
)
"""Errors whose messages name nothing of the operator's machine."""


def _codes(base: type[MusicGenError]) -> set[str]:
    return {cls.code for cls in _classes() if issubclass(cls, base)}


def _classes() -> list[type[MusicGenError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return [cls for name, cls in found if issubclass(cls, MusicGenError) and name[0] != "_"]


@pytest.mark.parametrize("ask", PLATFORMS.values(), ids=PLATFORMS)
@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: cls.__name__)
def test_every_error_is_told_by_its_code_and_a_text_for_callers(
    predictor: FakePredictor,
    cls: type[MusicGenError],
    ask: Ask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Guards against folders and hosts of the operator in an answer; the log names them."""
    predictor.fails = error = cls.__new__(cls)
    error.args = ("nothing in /srv/music or at http://bucket:8333",)
    answer = ask(predictor, {"prompt": "x"})
    if issubclass(cls, OF_THE_REQUEST) or cls is MusicGenError:
        assert answer == f"{cls.code}: {error}"
        return
    assert answer == f"{cls.code}: {describe_error(error).text}"
    assert "/srv" not in answer and "bucket:8333" not in answer
    assert str(error) in caplog.text


@pytest.mark.parametrize("ask", PLATFORMS.values(), ids=PLATFORMS)
def test_an_unexpected_error_tells_nothing_of_the_inside(
    predictor: FakePredictor, ask: Ask
) -> None:
    predictor.fails = FileNotFoundError("/secret/place")
    text = ask(predictor, {"prompt": "x"})
    assert text == f"internal_error: {describe_error(predictor.fails).text}"
    assert "secret" not in text
