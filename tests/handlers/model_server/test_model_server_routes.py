"""Bodies, answers and refusals of the model server, over a predictor that makes text files."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from handlers import call_body
from handlers.model_server import bodies
from handlers.model_server.app import ModelServer, make_app
from musicgen.errors import DeviceFault
from musicgen.request import GenerationRequest
from musicgen.settings import ModelServerSettings, Settings
from tests.support.fake_predictor import FakePredictor
from tests.support.model_server_calls import FIELDS, SOUND, client, code_of, nothing, post


@pytest.fixture
def predictor(tmp_path: Path) -> FakePredictor:
    return FakePredictor(tmp_path, url=f"data:audio/wav;base64,{SOUND}")


def test_an_object_is_answered_by_the_reply_of_other_platforms(predictor: FakePredictor) -> None:
    answer = post(predictor, json=FIELDS | {"seed": 5})
    assert answer.status_code == 200
    assert answer.json()["clips"][0]["audio"] == SOUND
    assert answer.json()["seed"] == 5


@pytest.mark.parametrize("accept", ["audio/wav", "audio/*", "audio/x-wav, application/json"])
def test_a_caller_who_accepts_audio_gets_the_file(predictor: FakePredictor, accept: str) -> None:
    answer = post(predictor, json=FIELDS | {"seed": 5}, headers={"Accept": accept})
    assert answer.content == b"music"
    assert answer.headers["content-type"] == "audio/wav"
    facts = answer.headers["X-Amzn-SageMaker-Custom-Attributes"]
    assert "seed=5;" in facts and "licence=Apache-2.0;" in facts
    assert len(facts) <= 1024


def test_accept_chooses_the_format(predictor: FakePredictor) -> None:
    post(predictor, json=FIELDS, headers={"Accept": "audio/mpeg"})
    assert predictor.requests[0].output_format == "mp3"


@pytest.mark.parametrize(
    ("fields", "accept", "status", "code"),
    [
        ({"output_format": "flac"}, "audio/wav", 406, "not_acceptable"),
        ({}, "text/html", 406, "not_acceptable"),
        ({"variations": 2}, "audio/wav", 422, "invalid_request"),
        ({"stems": True}, "audio/wav", 422, "invalid_request"),
        ({"prompts": ["a", "b"], "prompt": ""}, "audio/wav", 422, "invalid_request"),
    ],
)
def test_an_answer_that_cannot_be_one_file_is_refused(
    predictor: FakePredictor, fields: dict[str, Any], accept: str, status: int, code: str
) -> None:
    answer = post(predictor, json=FIELDS | fields, headers={"Accept": accept})
    assert (answer.status_code, code_of(answer)) == (status, code)
    assert predictor.requests == []


def test_instances_share_parameters_and_make_predictions_in_order(
    predictor: FakePredictor,
) -> None:
    body = {"instances": [{"prompt": "a"}, "b"], "parameters": {"duration": 3}}
    answer = post(predictor, json=body)
    assert [each["clips"][0]["audio"] for each in answer.json()["predictions"]] == [SOUND] * 2
    assert sorted(r.prompt for r in predictor.requests) == ["a", "b"]
    assert {r.duration for r in predictor.requests} == {3}


def test_one_bad_instance_refuses_the_call(predictor: FakePredictor) -> None:
    answer = post(predictor, json={"instances": [{"prompt": "a"}, {"prompt": ""}]})
    assert (answer.status_code, code_of(answer)) == (422, "empty_prompt")


@pytest.mark.parametrize(
    "body",
    [
        {"instances": []},
        {"instances": "x"},
        {"instances": [7]},
        {"instances": ["x"] * (bodies.ITEMS_MAX + 1)},
        {"instances": ["x"], "parameters": []},
        {"instances": ["x"], "parameters": {"prompt": "y"}},
        {"instances": ["x"], "inputs": "x"},
        [],
        None,
    ],
    ids=str,
)
def test_a_body_of_another_shape_is_refused(predictor: FakePredictor, body: Any) -> None:
    answer = post(predictor, json=body)
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")
    assert predictor.requests == []


def test_each_line_has_a_line_of_its_own(predictor: FakePredictor) -> None:
    """Guards against one bad record that fails a whole file of a batch transform."""
    lines = [json.dumps(FIELDS), json.dumps({"prompt": ""}), "no JSON", json.dumps(FIELDS)]
    answer = post(
        predictor,
        content="\n".join(lines),
        headers={"Content-Type": "application/jsonlines", "Accept": "application/jsonlines"},
    )
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [each.get("error", {}).get("code") for each in found] == [
        *(None, "empty_prompt", "invalid_request", None)
    ]


def test_a_sound_as_body_is_the_input_audio(predictor: FakePredictor) -> None:
    answer = post(
        predictor,
        "/invocations?prompt=x&continuation=true&duration=5",
        content=b"RIFF....",
        headers={"Content-Type": "audio/wav"},
    )
    assert answer.status_code == 200
    request = predictor.requests[0]
    assert request.continuation and request.duration == 5
    assert isinstance(request.input_audio, Path)


def test_bodies_are_limited(predictor: FakePredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    json_type = {"Content-Type": "application/json"}
    many = post(predictor, content=b"[" * (call_body.VALUES_MAX + 1), headers=json_type)
    assert (many.status_code, code_of(many)) == (413, "body_too_large")
    monkeypatch.setattr(call_body, "BODY_MAX_BYTES", 1000)
    large = post(predictor, json={"prompt": "x" * 1000})
    assert (large.status_code, code_of(large)) == (413, "body_too_large")
    deep = post(predictor, content=b"[" * 90_000, headers=json_type)
    assert deep.status_code == 413
    other = post(predictor, content=b"x", headers={"Content-Type": "text/csv"})
    assert (other.status_code, code_of(other)) == (415, "wrong_media_type")


def test_deep_nesting_is_an_error_of_the_caller(predictor: FakePredictor) -> None:
    answer = post(predictor, content=b"[" * 90_000, headers={"Content-Type": "application/json"})
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")


def test_an_answer_beyond_the_platforms_limit_is_refused(predictor: FakePredictor) -> None:
    predictor.url = f"data:audio/wav;base64,{'A' * 200_000}"
    for headers in ({"Accept": "audio/wav"}, {}):
        answer = post(predictor, settings={"answer_mb": 0.1}, json=FIELDS, headers=headers)
        assert (answer.status_code, code_of(answer)) == (413, "inline_too_large"), answer.text


def test_further_calls_are_refused_once_enough_wait(predictor: FakePredictor) -> None:
    predictor.endless = True

    async def run() -> tuple[httpx.Response, httpx.Response]:
        settings = {"calls_waiting": 0, "call_seconds_given": 1}
        server = ModelServer(Settings(), ModelServerSettings(**settings))
        server.open(predictor)
        async with client(server) as http:
            first = asyncio.create_task(http.post("/invocations", json=FIELDS))
            await asyncio.to_thread(predictor.begun.wait)
            return await http.post("/invocations", json=FIELDS), await first

    busy, slow = asyncio.run(run())
    assert (busy.status_code, code_of(busy)) == (503, "server_busy")
    assert busy.headers["retry-after"]
    assert (slow.status_code, code_of(slow)) == (504, "call_too_long")
    assert predictor.given_up == 1


def test_a_lost_device_ends_health_and_calls(predictor: FakePredictor) -> None:
    predictor.fails = DeviceFault("the GPU fell off the bus")

    async def run() -> list[int]:
        server = ModelServer(Settings(), ModelServerSettings())
        async with client(server) as http:
            loading = (await http.get("/ping"), await http.post("/invocations", json=FIELDS))
            calls = server.open(predictor)
            before = await http.get("/ping")
            fault = await http.post("/invocations", json=FIELDS)
            assert calls.lost_device.is_set()
            after = (await http.get("/ping"), await http.post("/invocations", json=FIELDS))
            return [a.status_code for a in (*loading, before, fault, *after)]

    assert asyncio.run(run()) == [503, 503, 200, 503, 503, 503]


def test_the_routes_of_vertex_are_those_of_its_variables(predictor: FakePredictor) -> None:
    env = {"AIP_PREDICT_ROUTE": "/v1/endpoints/1/deployedModels/2:predict", "AIP_HTTP_PORT": "80"}
    settings = ModelServerSettings.from_env(env)
    assert (settings.platform, settings.port) == ("vertex", 80)
    assert settings.answer_bytes == 1_500_000
    route = {"predict_route": settings.predict_route}
    answer = post(predictor, env["AIP_PREDICT_ROUTE"], route, json={"instances": ["x"]})
    assert len(answer.json()["predictions"]) == 1


@pytest.mark.parametrize(
    ("env", "platform", "stop_seconds", "call_seconds"),
    [
        ({"SAGEMAKER_BATCH": "true"}, "sagemaker", 25, 3597),
        ({"MUSICGEN_PLATFORM": "sagemaker"}, "sagemaker", 25, 57),
        ({"AIP_HTTP_PORT": "8080"}, "vertex", 8, 57),
        ({"AIP_HTTP_PORT": "8080", "MUSICGEN_CALL_SECONDS": "595"}, "vertex", 8, 595),
        ({"K_SERVICE": "music", "PORT": "8080"}, "cloudrun", 8, 3597),
        ({}, "container", 8, 3597),
        ({"MUSICGEN_STOP_SECONDS": "100"}, "container", 100, 3597),
    ],
)
def test_the_platform_is_found_by_its_variables(
    env: dict[str, str], platform: str, stop_seconds: int, call_seconds: float
) -> None:
    settings = ModelServerSettings.from_env(env)
    assert (settings.platform, settings.stop_seconds) == (platform, stop_seconds)
    assert settings.call_seconds == call_seconds


def test_a_request_is_the_same_in_each_shape(predictor: FakePredictor) -> None:
    fields = {"prompt": "x", "duration": 4.0, "seed": 3, "output_format": "flac"}
    post(predictor, json=fields)
    post(predictor, json={"instances": [fields]})
    post(
        predictor,
        content=json.dumps(fields),
        headers={"Content-Type": "application/jsonlines"},
    )
    assert predictor.requests == [GenerationRequest.from_mapping(fields)] * 3


def test_a_stream_has_the_bytes_of_the_live_sound_and_facts_about_it(
    predictor: FakePredictor,
) -> None:
    answer = post(predictor, json=FIELDS | {"stream": True, "seed": 5})
    assert answer.content == b"10203040"
    assert answer.headers["content-type"] == "audio/wav"
    assert "seed=5" in answer.headers["X-Amzn-SageMaker-Custom-Attributes"]
    unseeded = post(predictor, json=FIELDS | {"stream": True}, headers={"Accept": "audio/mpeg"})
    assert unseeded.headers["content-type"] == "audio/mpeg"
    request = predictor.requests[-1]
    assert f"seed={request.seed}" in unseeded.headers["X-Amzn-SageMaker-Custom-Attributes"]
    assert request.output_format == "mp3"


def test_a_stream_that_fails_has_no_end(predictor: FakePredictor) -> None:
    """Guards against a part of a clip that is taken for the whole."""
    predictor.fails = DeviceFault("the GPU fell off the bus")
    server = ModelServer(Settings(), ModelServerSettings())
    messages: list[Any] = []

    async def run() -> None:
        server.open(predictor)
        app = make_app(server, nothing, ModelServerSettings())
        body = json.dumps(FIELDS | {"stream": True}).encode()
        coming = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return coming.pop() if coming else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            messages.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers}
        await app({**scope, "query_string": b"", "http_version": "1.1"}, receive, send)

    asyncio.run(run())
    assert messages[0]["status"] == 200 and messages[-1]["more_body"]
    assert not server.is_ready


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"variations": 2}, 422), ({"stream": "maybe"}, 422), ({"stream": 1}, 422), ({"x": 1}, 422)],
)
def test_a_stream_that_cannot_begin_is_an_error(
    predictor: FakePredictor, fields: dict[str, Any], status: int
) -> None:
    answer = post(predictor, json={"stream": True, **FIELDS, **fields})
    assert (answer.status_code, predictor.requests) == (status, [])


def test_a_sound_on_sagemaker_brings_its_fields_in_the_only_header(
    predictor: FakePredictor,
) -> None:
    """SageMaker hands on no query string."""
    headers = {
        "Content-Type": "audio/wav",
        "X-Amzn-SageMaker-Custom-Attributes": "prompt=calm%20piano%3B&continuation=true&top_k=5",
    }
    assert post(predictor, content=b"RIFF", headers=headers).status_code == 200
    request = predictor.requests[0]
    assert (request.prompt, request.continuation, request.top_k) == ("calm piano;", True, 5)
    twice = post(predictor, "/invocations?top_k=5", content=b"RIFF", headers=headers)
    assert (twice.status_code, code_of(twice)) == (422, "invalid_request")
    other = {"X-Amzn-SageMaker-Custom-Attributes": "trace=7"}
    assert post(predictor, json=FIELDS, headers=other).status_code == 200


@pytest.mark.parametrize("kind", bodies.UNTYPED)
def test_an_input_from_s3_without_a_type_is_read_as_json(
    predictor: FakePredictor, kind: str
) -> None:
    headers = {"Content-Type": kind}
    assert post(predictor, content=json.dumps(FIELDS), headers=headers).status_code == 200
    other = post(predictor, content=b"RIFF", headers=headers)
    assert (other.status_code, code_of(other)) == (415, "wrong_media_type")


def test_lines_sent_as_one_object_are_told_their_type(predictor: FakePredictor) -> None:
    headers = {"Content-Type": "application/json"}
    answer = post(predictor, content=b'{"prompt": "x"}\n{"prompt": "y"}\n', headers=headers)
    assert answer.status_code == 422
    assert "application/jsonlines" in answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["application/jsonlines", "application/json"])
def test_several_requests_are_not_answered_in_audio(predictor: FakePredictor, kind: str) -> None:
    """Guards against an Accept that is read and ignored."""
    body = json.dumps(FIELDS if kind.endswith("lines") else {"instances": [FIELDS]})
    headers = {"Content-Type": kind, "Accept": "audio/wav"}
    answer = post(predictor, content=body, headers=headers)
    assert (answer.status_code, code_of(answer)) == (406, "not_acceptable")


def test_whole_numbers_of_vertex_come_as_fractions(predictor: FakePredictor) -> None:
    """Its client sends protobuf values, which know doubles only."""
    fields = {"prompt": "x", "seed": 7, "top_k": 5, "duration": 4, "variations": 2}
    wide = {n: float(v) if isinstance(v, int) else v for n, v in fields.items()}
    assert post(predictor, json={"instances": [wide]}).status_code == 200
    assert predictor.requests == [GenerationRequest.from_mapping(fields)]
    assert isinstance(predictor.requests[0].seed, int)
