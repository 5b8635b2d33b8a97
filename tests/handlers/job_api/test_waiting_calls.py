"""Calls that wait: the sound of another API's call, whole or as it is made, and its errors."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import soundfile as sf

from tests.support.job_server import JobServer

SPEECH: dict[str, Any] = {"input": "calm piano", "model": "demo", "voice": "alloy"}
DOCUMENTED = """curl -X POST http://localhost:8091/v1/audio/generate \\
    -H "Content-Type: application/json" \\
    -d '{
        "input": "The sound of a cat purring",
        "audio_length": 10.0
    }' --output cat.wav"""
"""vLLM-Omni's example, as its documentation has it."""


def _openai(server: JobServer, key: str = "unused") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0, timeout=90)


def _seconds(sound: bytes) -> float:
    samples, rate = sf.read(io.BytesIO(sound))
    return len(samples) / rate


def test_openai_lists_the_models(server: JobServer) -> None:
    client = _openai(server)
    models = {model.id: model for model in client.models.list()}
    assert models["demo"].owned_by == "musicgen" and models["large"].object == "model"
    assert client.models.retrieve("facebook/musicgen-large").id == "large"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-2")


def test_openai_makes_a_clip(server: JobServer) -> None:
    fields = {"duration": 1.5, "seed": 7}
    answer = _openai(server).audio.speech.create(**SPEECH, extra_body=fields)
    headers = answer.response.headers
    # The type that OpenAI's client asks for.
    assert headers["content-type"] == "application/octet-stream"
    assert int(headers["content-length"]) == len(answer.content)
    assert (headers["x-seed"], headers["x-model"]) == ("7", "demo")
    assert headers["x-licence"] == "Apache-2.0"
    assert _seconds(answer.content) == pytest.approx(1.5, abs=0.01)
    job = server.status(headers["x-job-id"])
    assert job["status"] == "completed"
    assert server.http.get(job["audio_url"]).content == answer.content


def test_openai_streams_a_clip_as_it_is_made(server: JobServer) -> None:
    with _openai(server).audio.speech.with_streaming_response.create(
        **SPEECH, response_format="wav", stream_format="audio", extra_body={"duration": 12}
    ) as answer:
        assert answer.headers["transfer-encoding"] == "chunked"
        blocks = answer.iter_bytes()
        sound = next(blocks)
        # The first sound is here, and the job is not at its end.
        job = server.status(answer.headers["x-job-id"])
        assert job["status"] == "running" and job["progress"] < 1
        assert str(job["request"]["seed"]) == answer.headers["x-seed"]
        sound += b"".join(blocks)
    assert _seconds(sound) == pytest.approx(12, abs=0.01)
    assert server.status(job["job_id"])["status"] == "completed"


@pytest.mark.parametrize(
    ("fields", "error", "code", "param"),
    [
        ({"speed": 2}, openai.BadRequestError, "invalid_request", "speed"),
        ({"input": ""}, openai.BadRequestError, "empty_prompt", "input"),
        ({"extra_body": {"duration": -1}}, openai.BadRequestError, "invalid_duration", "duration"),
        ({"model": "tts-1"}, openai.NotFoundError, "model_not_found", "model"),
    ],
)
def test_openai_gets_typed_errors(
    server: JobServer,
    fields: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
    param: str,
) -> None:
    with pytest.raises(error) as caught:
        _openai(server).audio.speech.create(**{**SPEECH, **fields})
    told = caught.value
    assert (told.code, told.param, told.type) == (code, param, "invalid_request_error")
    assert param in told.message


def test_a_failure_of_the_worker_names_the_field(server: JobServer) -> None:
    sound = {"input_audio": "http://127.0.0.1:9/sound.wav", "continuation": True}
    with pytest.raises(openai.BadRequestError) as caught:
        _openai(server).audio.speech.create(**SPEECH, extra_body=sound)
    assert caught.value.param == "input_audio"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_the_documented_curl_of_vllm_omni(server: JobServer, tmp_path: Path) -> None:
    command = DOCUMENTED.replace("http://localhost:8091", server.url)
    subprocess.run(["bash", "-ec", command], cwd=tmp_path, check=True, timeout=90)
    sound = (tmp_path / "cat.wav").read_bytes()
    assert sound[:4] == b"RIFF"
    assert _seconds(sound) == pytest.approx(10, abs=0.01)


def test_ezlocalai_gets_the_addresses_of_its_clips(server: JobServer) -> None:
    body = {"prompt": "metal", "duration": 0.5, "keyscale": "E minor", "n": 2}
    answer = server.http.post("/v1/audio/music/generations", json=body).json()
    assert answer["licence"] == "Apache-2.0"
    assert [clip["caption"] for clip in answer["data"]] == ["metal, in E minor"] * 2
    for clip in answer["data"]:
        assert _seconds(httpx.get(clip["url"]).content) == pytest.approx(0.5, abs=0.01)


def test_localai_gets_the_format_of_elevenlabs(server: JobServer) -> None:
    answer = server.http.post(
        "/v1/sound-generation?output_format=mp3_44100_128",
        json={"text": "rain", "duration_seconds": 0.5},
    )
    assert answer.headers["content-type"] == "audio/mpeg"
    assert sf.info(io.BytesIO(answer.content)).samplerate == 44100
