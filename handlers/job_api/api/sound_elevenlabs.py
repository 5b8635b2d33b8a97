"""Shape of ElevenLabs' calls for music: `POST /v1/music` and `POST /v1/music/stream`.

Source: ElevenLabs' reference, "Compose music" and "Stream music".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from handlers.job_api.api.sound_apis import read_named_format
from handlers.job_api.api.sound_shapes import LIVE_FORMATS, SoundCall, SoundShape, check_boolean
from musicgen.errors import InvalidDuration, InvalidRequest
from musicgen.request.limits import (
    DURATION_DEFAULT_SECONDS,
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
)

DEFAULT_FORMAT = "mp3_44100_128"
_THEIR_MODELS = "music_v"
_NUMBER: dict[str, Any] = {"type": "number"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}


def _read_compose(given: Mapping[str, Any], call: SoundCall, *, is_streamed: bool) -> None:
    check_boolean("force_instrumental", given.get("force_instrumental"))
    model = given.get("model_id")
    # Their clients send their own model's name.
    if model is not None and not str(model).startswith(_THEIR_MODELS):
        call.fields["model_version"] = model
    length = given.get("music_length_ms")
    if length is not None:
        call.fields["duration"] = _read_seconds(length)
    read_named_format(given.get("output_format", DEFAULT_FORMAT), call)
    call.is_streamed = is_streamed
    made = call.fields["output_format"]
    if is_streamed and made not in LIVE_FORMATS:
        problem = f"needs one of the formats {', '.join(LIVE_FORMATS)} in a stream (it is {made})"
        raise InvalidRequest("output_format", problem)


def _read_seconds(length: object) -> float:
    lowest, highest = (round(1000 * each) for each in (DURATION_MIN_SECONDS, DURATION_MAX_SECONDS))
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    if not is_number or not lowest <= float(str(length)) <= highest:
        problem = f"must be a number from {lowest} to {highest} ms"
        raise InvalidDuration("music_length_ms", problem, value=length)
    return float(str(length)) / 1000


COMPOSE = SoundShape(
    title="ComposeRequest",
    names={"prompt": "prompt", "seed": "seed"},
    schemas={
        "prompt": {"type": "string", "description": "Description of the music."},
        "music_length_ms": {
            **_NUMBER,
            "description": "Length in milliseconds; by default "
            f"{1000 * DURATION_DEFAULT_SECONDS:.0f}.",
        },
        "model_id": {
            "type": "string",
            "description": "Name of a model of `GET /v1/models`; music_v1 is its default.",
        },
        "seed": {"type": "integer"},
        "output_format": {
            "type": "string",
            "default": DEFAULT_FORMAT,
            "description": "A file format, or a name like mp3_44100_128. Also in the query.",
        },
        "force_instrumental": {**_BOOLEAN, "description": "Ignored: there is no voice."},
    },
    refused={
        "composition_plan": "sections names the parts of a clip, each with prompt and duration.",
        "respect_sections_durations": "sections have the durations of the request.",
        "store_for_inpainting": "Jobs are kept for the retention time of the server.",
        "sign_with_c2pa": "The operator of the server decides it for all clips.",
        "finetune_id": "model_version names a fine-tuned model.",
        "finetune_strength": "model_version names a fine-tuned model.",
    },
    read=partial(_read_compose, is_streamed=False),
    example={"prompt": "upbeat electronic music", "music_length_ms": 10000},
)
STREAM = replace(COMPOSE, read=partial(_read_compose, is_streamed=True))
