"""Calls of hostile and careless callers: each has one answer, and the answer tells what to do."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from musicgen.request import GenerationRequest
from tests.support.fake_predictor import FakePredictor
from tests.support.model_server_calls import FIELDS, SOUND, code_of, post

FACTS = "X-Amzn-SageMaker-Custom-Attributes"


@pytest.fixture
def predictor(tmp_path: Path) -> FakePredictor:
    return FakePredictor(tmp_path, url=f"data:audio/wav;base64,{SOUND}")


@pytest.mark.parametrize("seed", [None, -1, -1.0, 7, 7.0])
def test_a_stream_tells_the_seed_that_it_was_made_with(
    predictor: FakePredictor, seed: float | None
) -> None:
    """Guards against "seed=-1" beside a sound whose seed nobody learns."""
    answer = post(predictor, json=FIELDS | {"stream": True, "seed": seed})
    made = predictor.requests[0].seed
    assert made is not None and seed in (None, -1, made)
    assert answer.headers[FACTS].endswith(f";seed={made}")


@pytest.mark.parametrize("value", [None, False, "false"])
def test_null_and_false_switch_the_stream_off(predictor: FakePredictor, value: object) -> None:
    """Null is "not given" in every field."""
    answer = post(predictor, json=FIELDS | {"stream": value})
    assert answer.json()["clips"][0]["audio"] == SOUND


@pytest.mark.parametrize("form", ["", "WAV", [], {"a": 1}, False, 0])
@pytest.mark.parametrize("accept", ["application/json", "audio/*", "audio/wav", "text/html"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_unknown_format_is_told_whatever_is_accepted(
    predictor: FakePredictor, form: object, accept: str, stream: bool
) -> None:
    """Guards against a wav for an empty output_format, which is refused elsewhere."""
    fields = FIELDS | {"output_format": form, "stream": stream}
    answer = post(predictor, json=fields, headers={"Accept": accept})
    assert (answer.status_code, code_of(answer)) == (422, "unknown_format")
    assert predictor.requests == []


@pytest.mark.parametrize("weight", ["q=0", "q=0.000", "Q=0", "level=1; q=0"])
def test_what_a_caller_rules_out_is_not_sent(predictor: FakePredictor, weight: str) -> None:
    refused = f"audio/wav;{weight}"
    answer = post(predictor, json=FIELDS, headers={"Accept": f"{refused}, application/json"})
    assert answer.json()["clips"][0]["audio"] == SOUND
    other = post(predictor, json=FIELDS, headers={"Accept": refused})
    assert (other.status_code, code_of(other)) == (406, "not_acceptable")
    weighed = post(predictor, json=FIELDS, headers={"Accept": "audio/wav;q=0.5"})
    assert weighed.content == b"music"


@pytest.mark.parametrize(
    "body",
    [
        {"instances": [{"prompt": "x", "stream": True}]},
        {"instances": ["x"], "parameters": {"stream": True}},
    ],
)
def test_a_stream_of_several_requests_is_refused_by_name(
    predictor: FakePredictor, body: dict[str, Any]
) -> None:
    """It was an unknown field, and the advice was "Did you mean stems?"."""
    answer = post(predictor, json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "stream")
    assert "body of one request" in answer.json()["error"]["message"]


def test_a_line_that_asks_for_a_stream_is_refused_alone(predictor: FakePredictor) -> None:
    lines = [FIELDS | {"stream": True}, FIELDS]
    content = "\n".join(map(json.dumps, lines))
    answer = post(predictor, content=content, headers={"Content-Type": "application/jsonlines"})
    refused, made = map(json.loads, answer.text.splitlines())
    assert refused["error"]["field"] == "stream" and made["clips"]


@pytest.mark.parametrize("kind", ["application/json", "audio/wav"])
def test_a_compressed_body_is_told_to_come_plain(predictor: FakePredictor, kind: str) -> None:
    """Its text was "must be JSON", of a body that is JSON for its caller."""
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    content = gzip.compress(json.dumps(FIELDS).encode())
    answer = post(predictor, content=content, headers=headers)
    assert (answer.status_code, code_of(answer)) == (415, "wrong_media_type")
    assert "Content-Encoding 'gzip'" in answer.json()["error"]["message"]
    plain = {"Content-Type": "application/json", "Content-Encoding": "Identity"}
    assert post(predictor, content=json.dumps(FIELDS), headers=plain).status_code == 200


@pytest.mark.parametrize("place", ["query", "header"])
def test_fields_beside_a_sound_are_utf_8(predictor: FakePredictor, place: str) -> None:
    """Other bytes became replacement characters, and the music followed another prompt."""

    def send(text: str) -> Any:
        headers = {"Content-Type": "audio/wav"} | ({FACTS: text} if place == "header" else {})
        path = "/invocations" if place == "header" else f"/invocations?{text}"
        return post(predictor, path, content=b"RIFF", headers=headers)

    refused = send("prompt=caf%E9")
    assert (refused.status_code, code_of(refused)) == (422, "invalid_request")
    assert "caf%C3%A9" in refused.json()["error"]["message"] and predictor.requests == []
    assert send("prompt=caf%C3%A9").status_code == 200
    assert predictor.requests[0].prompt == "café"


def test_a_wrong_path_or_method_is_told_the_right_ones(predictor: FakePredictor) -> None:
    """A redirect of a slash at the end leads nowhere behind a platform."""
    route = {"predict_route": "/predict", "health_route": "/health"}
    for path in ("/", "/predict/", "/v1/predictions"):
        answer = post(predictor, path, route, json=FIELDS)
        assert (answer.status_code, code_of(answer)) == (404, "not_found")
        assert answer.json()["error"]["message"].endswith("Send POST /predict or GET /health.")
    answer = post(predictor, "/ping", json=FIELDS)
    assert (answer.status_code, code_of(answer)) == (405, "method_not_allowed")
    assert answer.json()["error"]["message"].endswith("Send POST /invocations or GET /ping.")


def test_a_key_given_twice_counts_as_its_last(predictor: FakePredictor) -> None:
    """As JSON is read everywhere else."""
    content = b'{"prompt": "x", "top_k": 3, "prompt": "y", "top_k": 5}'
    post(predictor, content=content, headers={"Content-Type": "application/json"})
    assert predictor.requests == [GenerationRequest(prompt="y", top_k=5)]
