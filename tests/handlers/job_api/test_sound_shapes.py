"""Bodies of OpenAI, vLLM-Omni, ezlocalai, LocalAI and ElevenLabs become fields of a request."""

from __future__ import annotations

from typing import Any

import pytest

from handlers.job_api.api.sound_apis import GENERATE, MUSIC, SOUND_GENERATION, SPEECH
from handlers.job_api.api.sound_errors import InvalidSound, ModelNotFound, translate_error
from handlers.job_api.api.sound_shapes import SoundShape
from musicgen.errors import InvalidRequest, UnknownField, UnknownModel
from musicgen.request import GenerationRequest

SHAPES = {"speech": SPEECH, "generate": GENERATE, "music": MUSIC, "sound": SOUND_GENERATION}
LYRICS = "[Verse]\nOn a right triangle battlefield"

TRANSLATED: list[tuple[SoundShape, dict[str, Any], dict[str, Any]]] = [
    (
        SPEECH,
        {"input": "piano", "model": "small", "voice": "alloy"},
        {"prompt": "piano", "model_version": "small", "output_format": "mp3"},
    ),
    (
        SPEECH,
        {"input": "piano", "voice": {"id": "v"}, "speed": 1.0, "response_format": "opus"},
        {"prompt": "piano", "output_format": "opus"},
    ),
    (
        SPEECH,
        {"input": "piano", "voice": "x", "duration": 3, "seed": 7, "output_format": "flac"},
        {"prompt": "piano", "duration": 3, "seed": 7, "output_format": "flac"},
    ),
    (
        GENERATE,
        {
            "input": "Thunder and rain sounds",
            "audio_length": 15.0,
            "audio_start": 0.0,
            "negative_prompt": "Low quality",
            "guidance_scale": 7.0,
            "seed": 42,
            "model": None,
        },
        {
            "prompt": "Thunder and rain sounds",
            "duration": 15.0,
            "negative_prompt": "Low quality",
            "classifier_free_guidance": 7.0,
            "seed": 42,
            "output_format": "wav",
        },
    ),
    (
        MUSIC,
        {
            "prompt": "metal",
            "lyrics": LYRICS,
            "instrumental": True,
            "duration": 45,
            "keyscale": "E minor",
            "bpm": 128,
            "timesignature": "4/4",
            "vocal_language": "en",
            "output_format": "wav24",
            "n": 2,
        },
        {
            "prompt": "metal, in E minor, 128 bpm, time 4/4",
            "duration": 45,
            "output_format": "wav",
            "bit_depth": "24",
            "variations": 2,
        },
    ),
    (
        MUSIC,
        {"prompt": "techno", "loop": True, "bpm": 126, "response_format": "flac"},
        {"prompt": "techno", "loop": True, "bpm": 126, "output_format": "flac"},
    ),
    (
        SOUND_GENERATION,
        {"text": "rain", "model_id": "small", "duration_seconds": 5, "do_sample": False},
        {
            "prompt": "rain",
            "model_version": "small",
            "duration": 5,
            "temperature": 0.0,
            "output_format": "wav",
        },
    ),
    (
        SOUND_GENERATION,
        {"text": "rain", "output_format": "mp3_44100_128"},
        {"prompt": "rain", "output_format": "mp3", "sample_rate": 44100, "bitrate": 128},
    ),
]


@pytest.mark.parametrize(("shape", "body", "fields"), TRANSLATED)
def test_a_body_becomes_a_valid_request(
    shape: SoundShape, body: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert shape.translate(body).fields == fields
    GenerationRequest.from_mapping(fields)


@pytest.mark.parametrize("name", SHAPES)
def test_the_example_of_each_shape_is_translated(name: str) -> None:
    shape = SHAPES[name]
    assert GenerationRequest.from_mapping(shape.translate(shape.example).fields).prompt
    schema = shape.build_schema()
    assert schema["additionalProperties"] is False
    assert set(shape.example) <= set(schema["properties"])
    assert not set(shape.refused) & set(schema["properties"])


REFUSED: list[tuple[SoundShape, dict[str, Any], str]] = [
    (SPEECH, {"voice": 7}, "voice"),
    (SPEECH, {"speed": 1.5}, "speed"),
    (SPEECH, {"speed": True}, "speed"),
    (SPEECH, {"instructions": "softly"}, "instructions"),
    (SPEECH, {"response_format": "pcm"}, "response_format"),
    (SPEECH, {"response_format": "aac"}, "response_format"),
    (SPEECH, {"response_format": ["mp3"]}, "response_format"),
    (SPEECH, {"response_format": "mp3", "output_format": "wav"}, "response_format"),
    (SPEECH, {"stream_format": "sse"}, "stream_format"),
    (SPEECH, {"stream_format": "audio", "response_format": "flac"}, "stream_format"),
    (SPEECH, {"stream": "yes"}, "stream"),
    (SPEECH, {"prompt": "piano", "input": "piano"}, "input"),
    (SPEECH, {"variations": 2}, "variations"),
    (SPEECH, {"prompts": ["a", "b"]}, "variations"),
    (GENERATE, {"audio_start": 2}, "audio_start"),
    (GENERATE, {"num_inference_steps": 100}, "num_inference_steps"),
    (GENERATE, {"audio_length": 5, "duration": 5}, "audio_length"),
    (MUSIC, {"lyrics": LYRICS}, "lyrics"),
    (MUSIC, {"lyrics": LYRICS, "instrumental": False}, "lyrics"),
    (MUSIC, {"lyrics": 5}, "lyrics"),
    (MUSIC, {"keyscale": "x" * 61}, "keyscale"),
    (MUSIC, {"bpm": "fast"}, "bpm"),
    (MUSIC, {"response_format": "b64_json"}, "response_format"),
    (MUSIC, {"response_format": "url", "stream": True}, "stream"),
    (MUSIC, {"response_format": "wav", "n": 2}, "variations"),
    (MUSIC, {"inference_steps": 16}, "inference_steps"),
    (MUSIC, {"output_format": "wav8"}, "output_format"),
    (SOUND_GENERATION, {"prompt_influence": 0.3}, "prompt_influence"),
    (SOUND_GENERATION, {"output_format": "mp3_22050_32"}, "output_format"),
    (SOUND_GENERATION, {"output_format": "ulaw_8000"}, "output_format"),
    (SOUND_GENERATION, {"output_format": "mp3_44100_128_9"}, "output_format"),
    (SOUND_GENERATION, {"think": 1}, "think"),
]


@pytest.mark.parametrize(("shape", "body", "field"), REFUSED)
def test_a_field_without_a_meaning_is_refused(
    shape: SoundShape, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shape.translate(body)
    assert caught.value.field == field
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize("name", SHAPES)
def test_an_unknown_field_is_named_with_the_nearest(name: str) -> None:
    with pytest.raises(UnknownField, match="Did you mean seed"):
        SHAPES[name].translate({"sead": 1})


@pytest.mark.parametrize(
    ("body", "is_streamed"),
    [
        ({}, False),
        ({"stream_format": "audio"}, True),
        ({"stream": True}, True),
        ({"stream": False}, False),
    ],
)
def test_a_caller_asks_for_a_stream(body: dict[str, Any], is_streamed: bool) -> None:
    assert SPEECH.translate({"input": "piano", **body}).is_streamed is is_streamed


def test_an_error_has_the_field_of_the_caller() -> None:
    """The caller of vLLM-Omni's call has never heard of `duration`."""
    with pytest.raises(InvalidRequest) as caught:
        GenerationRequest.from_mapping(
            GENERATE.translate({"input": "a", "audio_length": -1}).fields
        )
    error = translate_error(caught.value, GENERATE.names)
    assert isinstance(error, InvalidSound)
    assert (error.status, error.field, error.code) == (400, "audio_length", "invalid_duration")
    assert str(error).startswith("audio_length must be")


def test_an_unknown_model_is_not_found() -> None:
    error = translate_error(UnknownModel("model_version", "must be one", value="tts-1"), {})
    assert isinstance(error, ModelNotFound)
    assert (error.status, error.code, error.field) == (404, "model_not_found", "model")
