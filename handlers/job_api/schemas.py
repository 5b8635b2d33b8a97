"""The bodies of the API, as its OpenAPI document tells them. What is allowed in a request's fields
is said once, by `musicgen.request`, and checked there."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from musicgen.request import (
    BIT_DEPTHS,
    DURATION_DEFAULT_SECONDS,
    DURATION_MAX_SECONDS,
    DURATION_MIN_SECONDS,
    NORMALIZATION_STRATEGIES,
    OUTPUT_FORMATS,
    VARIATIONS_MAX,
)

State = Literal["queued", "running", "completed", "failed", "cancelled"]


class ErrorBody(BaseModel):
    code: str
    message: str
    field: str | None = None


class ErrorReply(BaseModel):
    error: ErrorBody


class Submitted(BaseModel):
    """The answer to a new job."""

    job_id: str
    status: State = "queued"

    model_config = ConfigDict(
        json_schema_extra={"example": {"job_id": "6f1c4f6a", "status": "queued"}}
    )


class Clip(BaseModel):
    url: str
    prompt: str | None = None
    seed: int | None = None
    seconds: float | None = None
    content_type: str
    bytes: int
    sha256: str

    model_config = ConfigDict(extra="allow")


class Result(BaseModel):
    clips: list[Clip]
    made_by: str
    seed: int | None = None
    seconds: float | None = None
    model: str | None = None
    licence: str | None = None
    real_time_factor: float | None = None
    notes: list[str] = []

    model_config = ConfigDict(extra="allow")


class Status(BaseModel):
    job_id: str
    status: State
    progress: float = Field(ge=0, le=1)
    position: int | None = Field(None, description="1 is next; only while queued")
    expected_seconds: float | None = Field(None, description="until the end, where it is known")
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    audio_url: str | None = None
    audio_urls: list[str] | None = None
    stream_url: str | None = None
    request: dict[str, Any]
    priority: int = 0
    attempt: int = 0
    result: Result | None = None
    error: ErrorBody | None = None


class Jobs(BaseModel):
    jobs: list[Status]
    next: str | None = Field(None, description="for `before`, to see the ones before these")


class Upload(BaseModel):
    upload_id: str
    input_audio: str = Field(description="what to send as input_audio")
    bytes: int
    seconds: float
    expires_at: str


class ModelReply(BaseModel):
    name: str
    follows: str
    channels: int
    licence: str
    memory_gb: dict[str, float | None]
    loaded: bool
    loading: bool


class Models(BaseModel):
    default: str
    models: list[ModelReply]


class Loading(BaseModel):
    model: str
    status: Literal["loading", "loaded"]


class Session(BaseModel):
    auth: bool
    signed_in: bool
    name: str | None = None
    version: str


class SignIn(BaseModel):
    key: str = Field(max_length=200)


GENERATE_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": True,
    "properties": {
        "prompt": {"type": "string"},
        "duration": {
            "type": "number",
            "minimum": DURATION_MIN_SECONDS,
            "maximum": DURATION_MAX_SECONDS,
            "default": DURATION_DEFAULT_SECONDS,
        },
        "seed": {"type": "integer", "description": "left out or -1: a random one, told later"},
        "variations": {"type": "integer", "minimum": 1, "maximum": VARIATIONS_MAX, "default": 1},
        "model_version": {"type": "string", "description": "one of GET /models"},
        "input_audio": {
            "type": "string",
            "description": "upload:ID of POST /uploads, an http(s) URL, a data: URI or base64",
        },
        "output_format": {"enum": list(OUTPUT_FORMATS), "default": "wav"},
        "normalization_strategy": {"enum": list(NORMALIZATION_STRATEGIES)},
        "bit_depth": {"enum": list(BIT_DEPTHS), "default": "16"},
        "priority": {"type": "integer", "minimum": -10, "maximum": 10, "default": 0},
        "webhook_url": {"type": "string", "description": "told when the job has ended"},
    },
    "description": "The fields of a request, and of the job. Others than those shown here: "
    "docs/requests.md",
    "examples": [
        {"prompt": "upbeat electronic music", "duration": 5},
        {"prompt": "calm piano", "duration": 60, "seed": 7, "output_format": "mp3"},
    ],
}
