"""Schemas of the API's bodies in the OpenAPI document, except the body of `POST /generate`.

The document uses these class names. Docstrings and descriptions appear in it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "running", "completed", "failed", "cancelled"]


class ErrorBody(BaseModel):
    """Error of a call or a job: a stable code, and a message for people."""

    code: str
    message: str
    field: str | None = None
    expected_seconds: float | None = Field(
        None, description="wait of a job submitted now, if a limit of jobs is reached"
    )


class ErrorReply(BaseModel):
    """Response to a refused or failed call."""

    error: ErrorBody


class Submitted(BaseModel):
    """Response to a new job."""

    job_id: str
    status: State = "queued"

    model_config = ConfigDict(
        json_schema_extra={"example": {"job_id": "6f1c4f6a", "status": "queued"}}
    )


class ClipInfo(BaseModel):
    """Clip of a completed job."""

    url: str
    prompt: str | None = None
    seed: int | None = None
    seconds: float | None = None
    content_type: str
    bytes: int
    sha256: str

    model_config = ConfigDict(extra="allow")


class Result(BaseModel):
    """Result of a completed job."""

    clips: list[ClipInfo]
    made_by: str
    seed: int | None = None
    seconds: float | None = None
    model: str | None = None
    licence: str | None = None
    real_time_factor: float | None = None
    notes: list[str] = []

    model_config = ConfigDict(extra="allow")


class Status(BaseModel):
    """Status of a job."""

    job_id: str
    status: State
    progress: float = Field(ge=0, le=1)
    position: int | None = Field(None, description="place in the queue, 1 is next; only if queued")
    expected_seconds: float | None = Field(
        None, description="estimated seconds until the job finishes, if known"
    )
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
    """Page of a caller's jobs."""

    jobs: list[Status]
    next: str | None = Field(None, description="value of `before` for the next page")


class Upload(BaseModel):
    """Stored audio file."""

    upload_id: str
    input_audio: str = Field(description="value for the field input_audio of a request")
    bytes: int
    seconds: float
    expires_at: str


class ModelReply(BaseModel):
    """Model of the catalog or of a worker."""

    name: str
    follows: str
    channels: int
    licence: str
    memory_gb: dict[str, float | None]
    loaded: bool
    loading: bool
    error: str | None = Field(None, description="reason of the last failed load")


class Models(BaseModel):
    """Available models, and the default of requests."""

    default: str
    models: list[ModelReply]


class Loading(BaseModel):
    """Response to a request for loading a model."""

    model: str
    status: Literal["loading", "loaded"]


class Session(BaseModel):
    """Sign-in state of the caller; `auth` is true if this server needs API keys."""

    auth: bool
    signed_in: bool
    name: str | None = None
    version: str


class SignIn(BaseModel):
    """API key for signing in."""

    key: str = Field(max_length=200)
