"""Schemas of the API's bodies in the OpenAPI document, except the body of `POST /generate`.

The document uses these class names. Docstrings and descriptions appear in it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

State = TypeAliasType("State", Literal["queued", "running", "completed", "failed", "cancelled"])
"""State of a job. With a name, generated clients have one type for it."""
Address = Annotated[str, Field(json_schema_extra={"format": "uri-reference"})]
"""Address on this server, without its name."""


class ErrorBody(BaseModel):
    """Error of a call or a job: a stable code, and a message for people."""

    code: str
    message: str
    field: str | None = None
    reason: str | None = Field(None, description="why a field or a sound is refused: a stable code")
    values: dict[str, float | str] | None = Field(None, description="values in the reason's text")
    type: str | None = Field(None, description="kind of a call's error, for OpenAI's clients")
    param: str | None = Field(None, description="the same as field, for OpenAI's clients")
    expected_seconds: float | None = Field(
        None, description="wait of a job submitted now, if a limit of jobs is reached"
    )
    request_id: str | None = Field(None, description="the answer's X-Request-ID; not in a status")


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


class ClipPartInfo(BaseModel):
    """Further file of a clip."""

    name: str = Field(description="name of a stem, such as drums; or midi for the notes")
    url: Address
    content_type: str
    bytes: int
    sha256: str


class ClipInfo(BaseModel):
    """Clip of a completed job."""

    url: Address
    midi_url: Address | None = None
    prompt: str | None = None
    seed: int | None = None
    seconds: float | None = None
    content_type: str
    bytes: int
    sha256: str
    parts: list[ClipPartInfo] = []

    model_config = ConfigDict(extra="allow")


class NoteDetail(BaseModel):
    """Note on a result: a stable code, the values in its text, and the text."""

    code: str | None = None
    values: dict[str, float] = {}
    text: str


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
    note_details: list[NoteDetail] = Field([], description="the notes with their codes")

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
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    audio_url: Address | None = None
    audio_urls: list[Address] | None = None
    stream_url: Address | None = None
    name: str | None = Field(None, description="the owner's name for the job")
    favourite: bool = Field(False, description="kept beyond the lifetime of finished jobs")
    request: dict[str, Any] = Field(
        description="fields of the request other than their defaults, with the model"
    )
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
    expires_at: datetime


class ModelReply(BaseModel):
    """Model of the catalog or of a worker: the fields of OpenAI's API, then this server's own."""

    id: str = Field(description="name for `model_version` and `model`")
    object: Literal["model"] = "model"
    created: int = Field(description="always 0: the time is not known")
    owned_by: str = Field(description="publisher of the weights")
    follows: str
    channels: int
    licence: str
    memory_gb: dict[str, float | None]
    available: bool = Field(
        description="false if no running worker has its files or reaches the hub for them"
    )
    loaded: bool
    loading: bool
    error: str | None = Field(None, description="reason of the last failed load")
    error_code: str | None = Field(None, description="its stable code")


class Models(BaseModel):
    """Available models in the shape of OpenAI's list, and the default of requests."""

    object: Literal["list"] = "list"
    default: str = Field(description="id of the model for requests without one")
    data: list[ModelReply]


class MusicClip(BaseModel):
    """Clip in the shape of ezlocalai's answer."""

    url: str = Field(json_schema_extra={"format": "uri"})
    content_type: str
    format: str
    duration: float | None = None
    seed: int | None = None
    caption: str | None = None


class MusicReply(BaseModel):
    """Clips in the shape of ezlocalai's answer."""

    created: int
    model: str | None
    licence: str | None
    job_id: str
    data: list[MusicClip]


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
