"""predict.py behind Cog's own server: what callers of Replicate see, on the demo model."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicgen.request import GenerationRequest
from tests.support.cog_server import Neighbour, Server, cog_server, web_neighbour

pytest.importorskip("cog")

RATE = 32_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with cog_server(tmp_path_factory.mktemp("cog")) as running:
        yield running


@pytest.fixture(scope="module")
def neighbour() -> Iterator[Neighbour]:
    with web_neighbour(_wav(0.4)) as known:
        yield known


def test_setup_says_the_licence(server: Server) -> None:
    assert "loaded demo (licence Apache-2.0)" in server.log.read_text()


def test_a_prediction_is_a_wav_of_the_exact_length(server: Server) -> None:
    answer = server.succeed(duration=0.7, seed=11)
    pcm, rate = _decoded(answer["output"], "audio/wav", "audio/x-wav")
    assert (pcm.shape, rate) == ((22_400, 1), RATE)
    metrics = answer["metrics"]
    assert metrics["seed"] == 11
    assert metrics["audio_seconds"] == 0.7
    assert metrics["real_time_factor"] > 0
    assert metrics["decode_seconds"] > 0
    assert metrics["loudness_lufs"] == pytest.approx(-14, abs=0.1)
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
    pcm, found = _decoded(answer["output"], kind, "audio/x-flac")
    assert (len(pcm), found) == (rate // 2, rate)


def test_bit_depth_is_obeyed(server: Server) -> None:
    answer = server.succeed(bit_depth="24")
    assert sf.info(io.BytesIO(_bytes(answer["output"]))).subtype == "PCM_24"


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
        ("duration", 30.1),
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
    assert server.post(input={"duration": 1}).status_code == 422


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"prompt": " "}, "empty_prompt: prompt=' ' is not allowed"),
        ({"top_k": 0}, "invalid_top_k: top_k=0 is not allowed: top_k and top_p cannot both be 0"),
        ({"continuation": True}, "invalid_continuation: "),
        ({"continuation_end": -0.5}, "invalid_continuation: "),
    ],
)
def test_a_typed_error_tells_its_code_and_text(
    server: Server, fields: dict[str, Any], told: str
) -> None:
    assert told in server.fail(**fields)


@pytest.mark.parametrize("prefix", ["", "file://", "FILE://"])
def test_a_local_path_is_refused(server: Server, tmp_path: Path, prefix: str) -> None:
    """Guards the hole of Cog's: a path passes through, here even to a file that is good audio."""
    path = tmp_path / "private.wav"
    path.write_bytes(_wav(0.2))
    for continuation in (True, False):
        error = server.fail(input_audio=f"{prefix}{path}", continuation=continuation)
        assert "invalid_input_audio: " in error


@pytest.mark.parametrize("address", ["/etc/hostname", "pyproject.toml", "../../etc/hostname"])
def test_a_local_text_is_not_leaked(server: Server, address: str) -> None:
    answer = server.predict(input_audio=address)
    assert answer["status"] == "failed"
    assert "an http(s) URL or a data URI" in answer["error"]
    assert "build-system" not in str(answer)
    assert socket.gethostname() not in str(answer)


def test_a_clip_is_continued(server: Server, neighbour: Neighbour) -> None:
    """The part that is continued is not decoded again: 20 of 50 frames."""
    fields = {"prompt": "", "duration": 1.0, "continuation": True, "seed": 3}
    fetched = server.succeed(**fields, input_audio=f"{neighbour.url}/clip.wav?token=secret")
    inline = server.succeed(**fields, input_audio=_data_uri(neighbour.clip))
    assert fetched["output"] == inline["output"]
    assert len(_decoded(inline["output"], "audio/wav")[0]) == RATE
    assert "33/33 steps" in inline["logs"]
    left = [p for p in server.temporary.iterdir() if p.is_file()]
    assert not left, "Cog deletes what it fetched"


def test_a_clip_as_long_as_the_result_is_refused(server: Server, neighbour: Neighbour) -> None:
    audio = _data_uri(neighbour.clip)
    error = server.fail(duration=0.4, continuation=True, input_audio=audio)
    assert "invalid_input_audio: " in error
    assert "shorter than duration" in error


def test_what_is_not_audio_is_refused(server: Server) -> None:
    error = server.fail(continuation=True, input_audio=_data_uri(b"no music"))
    assert "invalid_input_audio: " in error


def test_a_melody_needs_a_melody_model(server: Server, neighbour: Neighbour) -> None:
    error = server.fail(input_audio=_data_uri(neighbour.clip))
    assert "invalid_input_audio: " in error
    assert "choose a melody model" in error


def test_another_model_is_loaded_and_the_next_caller_has_the_first_again(server: Server) -> None:
    first = server.succeed(seed=5)
    other = server.succeed(seed=5, model_version="small")
    assert other["metrics"]["model"] == "small"
    assert other["metrics"]["licence"] == "CC-BY-NC-4.0"
    assert "loaded small (licence CC-BY-NC-4.0)" in other["logs"]
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


def test_one_slot_is_busy_until_it_is_cancelled_and_then_serves_again(
    server: Server, neighbour: Neighbour
) -> None:
    body = {
        "id": "long",
        "input": {"prompt": "x", "duration": 30},
        "webhook": f"{neighbour.url}/webhook",
        "webhook_events_filter": ["completed"],
    }
    server.wait_for("READY", 5)
    started = server.client.post("/predictions", json=body, headers={"Prefer": "respond-async"})
    assert started.status_code == 202
    server.wait_for("BUSY", 5)
    assert server.post(input={"prompt": "x"}).status_code == 409
    assert server.post("/predictions/long/cancel").status_code == 200
    server.wait_for("READY", 5)
    server.succeed()
    assert '"status":"canceled"' in neighbour.wait_for_webhook(5)


def test_outputs_of_earlier_predictions_are_deleted(server: Server) -> None:
    for _ in range(3):
        answer = server.succeed(output_format="flac")
    [file] = server.output_files()
    assert file.read_bytes() == _bytes(answer["output"])


def test_the_schema_is_served(server: Server) -> None:
    schema = server.client.get("/openapi.json").json()["components"]["schemas"]
    assert schema["Input"]["required"] == ["prompt"]
    assert "CC-BY-NC-4.0" in schema["Input"]["properties"]["model_version"]["description"]
    assert schema["Output"]["format"] == "uri"
    assert set(schema["Input"]["properties"]) <= set(GenerationRequest.__dataclass_fields__)


def _wav(seconds: float) -> bytes:
    time_axis = np.arange(round(seconds * RATE)) / RATE
    file = io.BytesIO()
    sf.write(file, 0.5 * np.sin(2 * np.pi * 440 * time_axis), RATE, format="WAV")
    return file.getvalue()


def _data_uri(data: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(data).decode()}"


def _bytes(output: str) -> bytes:
    return base64.b64decode(output.partition(";base64,")[2])


def _decoded(output: str, *kinds: str) -> tuple[Any, int]:
    """Samples (samples, channels) and rate of an output of one of the MIME types."""
    assert output.removeprefix("data:").partition(";")[0] in kinds
    pcm, rate = sf.read(io.BytesIO(_bytes(output)), always_2d=True)
    return pcm, int(rate)
