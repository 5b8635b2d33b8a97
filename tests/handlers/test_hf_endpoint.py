"""Calls of an Inference Endpoint to requests, and results and errors to what its server takes."""

from __future__ import annotations

import base64
import io
import json
import logging
import math
import tempfile
import wave
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler import EndpointHandler
from handlers.hf_endpoint import (
    INPUTS_MAX,
    MODEL_NAME_FILE,
    EndpointCalls,
    EndpointError,
    find_model,
    parse_query,
    read_payloads,
)
from musicgen.errors import CheckpointNotFound, InvalidRequest
from musicgen.generation import Generation
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest, StreamForm
from musicgen.request.limits import SEED_MAX
from musicgen.settings import BucketSettings, Delivery, Settings
from tests.support import ROOT

SHORT = {"duration": 0.2, "seed": 7}
DEMO = ROOT / "musicgen" / "demo" / "checkpoint"


class RecordingPredictor:
    """The real predictor, and what was asked of it."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.model, self.label, self.licence = predictor.model, predictor.label, predictor.licence
        self.slots = 1
        self.requests: list[GenerationRequest] = []
        self.deliveries: list[Delivery | None] = []
        self.audio: list[bytes] = []
        self.fault: Exception | None = None

    def start(
        self,
        request: GenerationRequest,
        job_id: str | None = None,
        *,
        stream: StreamForm | None = None,
        delivery: Delivery | None = None,
    ) -> Generation:
        if self.fault is not None:
            raise self.fault
        self.requests.append(request)
        self.deliveries.append(delivery)
        if request.input_audio is not None:
            self.audio.append(request.input_audio.read_bytes())
        return self._predictor.start(request, job_id, stream=stream, delivery=Delivery(None))

    models_kept = 1

    def other(self, name: str) -> RecordingPredictor:
        raise AssertionError("no other model is asked for")

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def demo() -> Predictor:
    return Predictor.load(Settings(threads=1))


@pytest.fixture
def predictor(demo: Predictor) -> RecordingPredictor:
    return RecordingPredictor(demo)


@pytest.fixture
def endpoint(predictor: RecordingPredictor) -> EndpointCalls:
    return EndpointCalls(predictor, Settings())


def _wav(seconds: float = 0.2, rate: int = 16000) -> bytes:
    count = round(seconds * rate)
    samples = [round(9000 * math.sin(2 * math.pi * 440 * i / rate)) for i in range(count)]
    data = b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(data)
    return file.getvalue()


def _from_address(query: dict[str, str]) -> dict[str, Any]:
    """What the endpoint's server makes of an address: digits are numbers, true and false bools."""
    made: dict[str, Any] = {}
    for name, text in query.items():
        made[name] = int(text) if text.isnumeric() else text
        if text in ("true", "false"):
            made[name] = text == "true"
    return made


@pytest.mark.parametrize(
    ("data", "prompts"),
    [
        ({"inputs": "a", "parameters": SHORT}, ["a"]),
        ({"inputs": {"prompt": "a", **SHORT}}, ["a"]),
        ({"inputs": {"prompt": "a"}, "parameters": SHORT}, ["a"]),
        ({"inputs": ["a", "b"], "parameters": SHORT}, ["a", "b"]),
        ({"inputs": [{"prompt": "a", **SHORT}, {"prompt": "b", **SHORT}]}, ["a", "b"]),
        ({"inputs": ["a"], "parameters": SHORT}, ["a"]),
    ],
)
def test_the_answer_has_the_shape_of_the_inputs(
    endpoint: EndpointCalls, predictor: RecordingPredictor, data: dict[str, Any], prompts: list[str]
) -> None:
    answer = endpoint.handle(data)
    assert isinstance(answer, list) == isinstance(data["inputs"], list)
    replies = answer if isinstance(answer, list) else [answer]
    assert [reply["prompt"] for reply in replies] == prompts
    assert [(r.prompt, r.duration, r.seed) for r in predictor.requests] == [
        (prompt, 0.2, 7) for prompt in prompts
    ]
    assert predictor.deliveries == [Delivery(None)] * len(prompts)


def test_the_answer_is_plain_json(endpoint: EndpointCalls) -> None:
    """The server has no way to send bytes, and the emulator none to send numpy."""
    answer = endpoint.handle({"inputs": ["a", "b"], "parameters": SHORT | {"variations": 2}})
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    assert base64.b64decode(answer[0]["clips"][1]["audio"])[:4] == b"RIFF"


def test_the_caller_s_mapping_is_left_as_it_was(endpoint: EndpointCalls) -> None:
    data = {"inputs": {"prompt": "a"}, "parameters": dict(SHORT)}
    endpoint.handle(data)
    assert data == {"inputs": {"prompt": "a"}, "parameters": SHORT}


def test_a_configured_bucket_takes_the_clips(predictor: RecordingPredictor) -> None:
    bucket = BucketSettings(name="music")
    EndpointCalls(predictor, Settings(bucket=bucket)).handle({"inputs": "a", "parameters": SHORT})
    assert predictor.deliveries == [Delivery(bucket)]


def test_raw_audio_is_continued_as_the_address_says(
    endpoint: EndpointCalls, predictor: RecordingPredictor
) -> None:
    query = {"prompt": "16", "duration": "0.5", "seed": "7", "bit_depth": "24", "top_p": "0"}
    query |= {"continuation": "true", "continuation_end": "-1"}
    answer = endpoint.handle({"inputs": _wav(), "parameters": _from_address(query)})
    assert isinstance(answer, dict)
    [request] = predictor.requests
    assert (request.prompt, request.duration, request.bit_depth) == ("16", 0.5, "24")
    assert request.continuation
    assert predictor.audio == [_wav()]
    assert request.input_audio is not None
    assert not request.input_audio.exists(), "the caller's audio is kept no longer than needed"


def test_raw_audio_is_a_melody_where_nothing_says_otherwise(
    checkpoints: Callable[[str], Path],
) -> None:
    folder = str(checkpoints("musicgen-melody"))
    predictor = RecordingPredictor(Predictor.load(Settings(model=folder, threads=1)))
    query = {"top_k": "10", "duration": "0.2"}
    reply = EndpointCalls(predictor, Settings()).handle(
        {"inputs": _wav(1.0), "parameters": _from_address(query)}
    )
    assert isinstance(reply, dict)
    assert any("melody" in note for note in reply["notes"])


def test_raw_audio_needs_no_parameters() -> None:
    """The server passes none at all when the address has none."""
    assert read_payloads({"inputs": b"sound"}) == [{"input_audio": b"sound"}]


@pytest.mark.parametrize("encode", [lambda wav: base64.b64encode(wav).decode(), lambda wav: wav])
def test_input_audio_may_be_a_parameter(
    endpoint: EndpointCalls, predictor: RecordingPredictor, encode: Callable[[bytes], Any]
) -> None:
    parameters = SHORT | {"input_audio": encode(_wav()), "continuation": True, "duration": 0.4}
    endpoint.handle({"inputs": "a", "parameters": parameters})
    assert predictor.audio == [_wav()]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "invalid_request: inputs must be a prompt"),
        ({"inputs": None}, "invalid_request: inputs must be a prompt"),
        ({"inputs": 5}, "invalid_request: inputs must be a prompt"),
        ({"inputs": []}, "invalid_request: inputs must be a list of 1 to 8 inputs, not of 0"),
        ({"inputs": ["a"] * (INPUTS_MAX + 1)}, "invalid_request: inputs must be a list of 1 to 8"),
        ({"inputs": [["a"]]}, "invalid_request: inputs must be a prompt"),
        ({"inputs": [b"a"]}, "invalid_request: inputs must be a prompt"),
        ({"inputs": "a", "parameters": [1]}, "invalid_request: parameters must be a mapping"),
        ({"inputs": "a", "parameters": "b"}, "invalid_request: parameters must be a mapping"),
        ({"inputs": "a", "duration": 5}, "invalid_request: duration is not a part of a call"),
        ({"inputs": "a", "options": {}}, "invalid_request: options is not a part of a call"),
        (
            {"inputs": "a", "parameters": {"prompt": "b"}},
            "invalid_request: prompt must be in inputs or in parameters",
        ),
        ({"inputs": b"a", "parameters": {"input_audio": "b"}}, "invalid_request: input_audio"),
        ({"inputs": "a", "parameters": {"sead": 1}}, "unknown_field: sead is not a field"),
        ({"inputs": {"text": "a"}}, "unknown_field: text is not a field"),
        ({"inputs": b"a", "parameters": {"prompt": 10**5000}}, "invalid_"),
        ({"inputs": "a", "parameters": {"duration": "5"}}, "invalid_duration: duration must be "),
        ({"inputs": "a", "parameters": {"model_version": "x/y"}}, "unknown_model: "),
        ({"inputs": "a", "parameters": {"input_audio": "/etc/passwd"}}, "invalid_input_audio: "),
        ({"inputs": b"a", "parameters": {"duration": "nan"}}, "invalid_duration: "),
        ({"inputs": b"", "parameters": {}}, "invalid_input_audio: "),
    ],
)
def test_what_is_no_call_is_told_with_a_code(
    endpoint: EndpointCalls, predictor: RecordingPredictor, data: dict[str, Any], text: str
) -> None:
    with pytest.raises(EndpointError) as caught:
        endpoint.handle(data)
    assert str(caught.value).startswith(text)
    assert not predictor.requests


def test_nothing_is_made_when_one_input_of_a_list_is_wrong(
    endpoint: EndpointCalls, predictor: RecordingPredictor
) -> None:
    with pytest.raises(EndpointError, match="empty_prompt"):
        endpoint.handle({"inputs": ["a", "b", " "], "parameters": SHORT})
    assert predictor.requests == []


def test_an_unexpected_error_is_logged_and_told_without_its_text(
    endpoint: EndpointCalls, predictor: RecordingPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    predictor.fault = FileNotFoundError("/secret/place")
    with caplog.at_level(logging.ERROR), pytest.raises(EndpointError) as caught:
        endpoint.handle({"inputs": "a"})
    assert str(caught.value).startswith("internal_error: ")
    assert "secret" not in str(caught.value)
    assert "/secret/place" in caplog.text
    assert "Traceback" in caplog.text
    predictor.fault = None
    assert endpoint.handle({"inputs": "a", "parameters": SHORT})


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
_names = st.sampled_from(["inputs", "parameters", "other"])


@given(st.dictionaries(_names, _json | st.binary(max_size=3)))
def test_any_body_is_payloads_or_a_typed_error(data: dict[str, Any]) -> None:
    try:
        payloads = read_payloads(data)
    except InvalidRequest:
        return
    inputs = data["inputs"]
    assert len(payloads) == (len(inputs) if isinstance(inputs, list) else 1)


_fields = st.fixed_dictionaries(
    {},
    optional={
        "duration": st.floats(0.1, 30),
        "seed": st.integers(0, SEED_MAX),
        "variations": st.integers(1, 8),
        "top_k": st.integers(1, 2048),
        "top_p": st.floats(0, 1),
        "temperature": st.floats(0, 1e300),
        "classifier_free_guidance": st.floats(1, 1000),
        "continuation": st.booleans(),
        "continuation_start": st.floats(0, 10),
        "continuation_end": st.just(-1.0) | st.floats(11, 30),
        "normalization_strategy": st.sampled_from(["loudness", "none"]),
        "output_format": st.sampled_from(["wav", "mp3"]),
        "bit_depth": st.sampled_from(["16", "24", "float"]),
        "model_version": st.sampled_from(["demo", "small"]),
    },
)
# The server itself loses the leading zeros of a prompt of digits, and fails on digits like "²".
_prompts = st.text(min_size=1, max_size=20).filter(
    lambda text: text.strip() and (not text.isnumeric() or text == "16")
) | st.sampled_from(["16", "0", "true", "false", "1e5", "-1", "nan"])


@given(_prompts, _fields)
def test_text_and_mapping_and_parameters_mean_the_same(
    prompt: str, parameters: dict[str, Any]
) -> None:
    whole = {"prompt": prompt, **parameters}
    for data in (
        {"inputs": prompt, "parameters": parameters},
        {"inputs": whole},
        {"inputs": [prompt], "parameters": parameters},
        {"inputs": parameters, "parameters": {"prompt": prompt}},
    ):
        assert read_payloads(data) == [whole]


@given(_prompts, _fields)
def test_the_address_says_the_same_as_json(prompt: str, parameters: dict[str, Any]) -> None:
    """Of raw audio every parameter arrives as a text, or as a number where a text was meant."""
    if "continuation_start" in parameters or parameters.get("continuation_end", -1.0) >= 0:
        parameters = parameters | {"continuation": True}
    with tempfile.NamedTemporaryFile() as file:
        meant = GenerationRequest.from_mapping(
            {"prompt": prompt, "input_audio": Path(file.name), **parameters}
        )
    as_text = {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in {"prompt": prompt, **parameters}.items()
    }
    [payload] = read_payloads({"inputs": b"sound", "parameters": _from_address(as_text)})
    assert payload.pop("input_audio") == b"sound"
    read = GenerationRequest.from_mapping(payload | {"input_audio": meant.input_audio})
    assert read == meant


@settings(max_examples=300)
@given(st.sampled_from([field.name for field in fields(GenerationRequest)]), st.text(max_size=30))
def test_a_parameter_of_an_address_is_its_field_s_type_or_left_alone(name: str, text: str) -> None:
    [(same_name, value)] = parse_query({name: text}).items()
    assert same_name == name
    if not isinstance(value, str):
        assert type(value) in (bool, int, float)
        assert text.isascii(), "digits of other alphabets are no numbers here"
        assert float(text) == value if type(value) is not bool else text == str(value).lower()


@pytest.mark.parametrize("text", ["1_0", " 1", "0x10", "١", "1e", "", "1" * 5000, "inf", "+-1"])
def test_what_only_looks_like_a_number_stays_a_text(text: str) -> None:
    """Python's own conversions take some of these, and fail badly on the longest one."""
    assert parse_query({"seed": text, "top_k": text}) == {"seed": text, "top_k": text}


def test_a_repository_brings_its_model_or_names_it(tmp_path: Path) -> None:
    assert find_model(tmp_path) is None
    (tmp_path / MODEL_NAME_FILE).write_text("facebook/musicgen-small\n")
    assert find_model(tmp_path) == "facebook/musicgen-small"
    (tmp_path / "config.json").write_text("{}")
    assert find_model(tmp_path) == str(tmp_path)


def test_the_handler_loads_the_repository_s_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUSICGEN_MODEL", raising=False)
    monkeypatch.setenv("MUSICGEN_THREADS", "1")
    reply = EndpointHandler(str(DEMO))({"inputs": "a", "parameters": SHORT})
    assert isinstance(reply, dict)
    assert reply["model"] == DEMO.name


def test_a_set_model_wins_over_the_repository_s(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MUSICGEN_MODEL", str(DEMO))
    (tmp_path / "config.json").write_text("{}")
    handler = EndpointHandler(str(tmp_path))
    reply = handler({"inputs": "a", "parameters": SHORT})
    assert isinstance(reply, dict)
    assert reply["model"] == DEMO.name


def test_an_endpoint_without_its_model_does_not_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Loading the demo in its place would answer everybody with noise."""
    monkeypatch.delenv("MUSICGEN_MODEL", raising=False)
    (tmp_path / MODEL_NAME_FILE).write_text("nobody/nothing\n")
    with pytest.raises(CheckpointNotFound):
        EndpointHandler(str(tmp_path))
