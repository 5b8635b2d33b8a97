"""predict.py behind Cog's own server: what callers of Replicate see, on the demo model."""

from __future__ import annotations

import io
from typing import Any

import pytest
import soundfile as sf

from musicgen.request import GenerationRequest
from tests.support.clips import RATE, bytes_of, decoded
from tests.support.cog_server import Server

pytest.importorskip("cog")


@pytest.fixture
def server(plain_cog: Server) -> Server:
    return plain_cog


def test_setup_says_the_licence(server: Server) -> None:
    assert "loaded demo (licence Apache-2.0)" in server.log.read_text()


def test_a_prediction_is_a_wav_of_the_exact_length(server: Server) -> None:
    answer = server.succeed(duration=0.7, seed=11)
    pcm, rate = decoded(answer["output"], "audio/wav", "audio/x-wav")
    assert (pcm.shape, rate) == ((22_400, 1), RATE)
    metrics = answer["metrics"]
    assert metrics["seed"] == 11
    assert metrics["audio_seconds"] == 0.7
    assert metrics["real_time_factor"] > 0
    assert metrics["decode_seconds"] > 0
    # A little below where peaks had to be limited.
    assert metrics["loudness_lufs"] == pytest.approx(-14, abs=0.5)
    assert "100%|##########| " in answer["logs"]
    assert "seed 11, model demo (licence Apache-2.0)" in answer["logs"]


@pytest.mark.parametrize(
    ("output_format", "kind", "rate"),
    [
        ("mp3", "audio/mpeg", RATE),
        ("flac", "audio/flac", RATE),
        ("ogg", "audio/ogg", RATE),
        ("opus", "audio/ogg", 48_000),
    ],
)
def test_every_format_decodes_to_the_exact_length(
    server: Server, output_format: str, kind: str, rate: int
) -> None:
    answer = server.succeed(output_format=output_format)
    pcm, found = decoded(answer["output"], kind, "audio/x-flac")
    assert (len(pcm), found) == (rate // 2, rate)


def test_bit_depth_is_obeyed(server: Server) -> None:
    answer = server.succeed(bit_depth="24")
    assert sf.info(io.BytesIO(bytes_of(answer["output"]))).subtype == "PCM_24"


def test_the_same_seed_gives_the_same_bytes_and_zero_is_a_seed(server: Server) -> None:
    zero = server.succeed(seed=0)
    assert zero["metrics"]["seed"] == 0
    assert server.succeed(seed=0)["output"] == zero["output"]
    assert server.succeed(seed=1)["output"] != zero["output"]


def test_a_seed_that_was_chosen_is_told_and_repeats_the_result(server: Server) -> None:
    chosen, other = server.succeed(seed=-1), server.succeed()
    assert chosen["metrics"]["seed"] != other["metrics"]["seed"]
    assert server.succeed(seed=chosen["metrics"]["seed"])["output"] == chosen["output"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("duration", 300.1),
        ("duration", 0.05),
        ("duration", "5"),
        ("top_k", 2049),
        ("seed", -2),
        ("seed", 2**32),
        ("temperature", -1),
        ("prompt", "x" * 2001),
        ("output_format", "aac"),
        ("model_version", "huge"),
        ("continuation", "yes"),
    ],
)
def test_what_the_schema_forbids_is_422(server: Server, field: str, value: Any) -> None:
    response = server.post(input={"prompt": "x", field: value})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "input", field]


def test_a_prompt_is_required(server: Server) -> None:
    assert "empty_prompt" in server.ask(b'{"input": {"duration": 1}}').json()["error"]


def test_a_call_without_a_content_type_is_refused(server: Server) -> None:
    """Cog ignores its body and runs on the defaults, of which the prompt must not be one."""
    body = b'{"input": {"prompt": "piano", "duration": 0.5}}'
    answer = server.ask(body, kind=None)
    assert answer.status_code == 422 or "empty_prompt" in answer.json()["error"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": " "}, "empty_prompt: prompt must not be empty"),
        ({"continuation": True}, "invalid_continuation: "),
        ({"continuation_end": -0.5, "continuation": True}, "invalid_continuation: "),
    ],
)
def test_a_typed_error_tells_its_code_and_text(
    server: Server, fields: dict[str, Any], text: str
) -> None:
    assert text in server.fail(**fields)


def test_another_model_is_loaded_and_the_next_caller_has_the_first_again(server: Server) -> None:
    first = server.succeed(seed=5)
    other = server.succeed(seed=5, model_version="small")
    assert other["metrics"]["model"] == "small"
    assert other["metrics"]["licence"] == "CC-BY-NC-4.0"
    assert "model small (licence CC-BY-NC-4.0)" in other["logs"]
    again = server.succeed(seed=5)
    assert again["metrics"]["model"] == "demo"
    assert again["output"] == first["output"]


def test_a_model_that_is_not_there_leaves_the_first_one_serving(server: Server) -> None:
    assert "checkpoint_not_found: " in server.fail(model_version="medium")
    assert server.succeed()["metrics"]["model"] == "demo"


def test_after_a_model_whose_weights_are_damaged_the_first_one_serves_again(
    server: Server,
) -> None:
    try:
        assert "checkpoint_" in server.predict(model_version="large")["error"]
        assert server.succeed()["metrics"]["model"] == "demo"
    finally:
        server.succeed(model_version="small")


def test_outputs_of_earlier_predictions_are_deleted(server: Server) -> None:
    for _ in range(3):
        answer = server.succeed(output_format="flac")
    [file] = server.output_files()
    assert file.read_bytes() == bytes_of(answer["output"])


def test_the_schema_is_served(server: Server) -> None:
    schema = server.client.get("/openapi.json").json()["components"]["schemas"]
    assert "CC-BY-NC-4.0" in schema["Input"]["properties"]["model_version"]["description"]
    assert schema["Output"]["format"] == "uri"
    others = set(schema["Input"]["properties"]) - set(GenerationRequest.__dataclass_fields__)
    assert others == {"multi_band_diffusion"}
