"""The bodies of the API but for that of a request, as its OpenAPI document tells them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "running", "completed", "failed", "cancelled"]


class ErrorBody(BaseModel):
    code: str
    message: str
    field: str | None = None
    expected_seconds: float | None = Field(
        None, description="that a job would wait which came now; where there is no room for one"
    )


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
    error: str | None = Field(None, description="why it could not be loaded when it was wanted")


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
