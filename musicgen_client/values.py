"""Answers of the job API as values. Times are datetimes in UTC, lengths are seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, cast, get_args

State = Literal["queued", "running", "completed", "failed", "cancelled"]
FINAL = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class JobClipPart:
    """Further file of a clip: a stem by its name (drums, bass), or its notes as "midi"."""

    name: str
    url: str
    content_type: str
    sha256: str
    bytes: int | None = None


@dataclass(frozen=True)
class JobClip:
    """One finished clip of a job.

    `url`: its path on the server. `seed` and `sha256` are those of the file. `parts`: its stems and
    notes, for a request with `stems` or `midi`.
    """

    url: str
    content_type: str
    sha256: str
    bytes: int | None = None
    seed: int | None = None
    prompt: str | None = None
    seconds: float | None = None
    parts: tuple[JobClipPart, ...] = ()

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> JobClip:
        """Build a clip from its entry in the JSON answer of `/status`."""
        known: dict[str, Any] = {name: mapping.get(name) for name in cls.__dataclass_fields__}
        names = JobClipPart.__dataclass_fields__
        known["parts"] = tuple(
            JobClipPart(**{name: part.get(name) for name in names})
            for part in mapping.get("parts") or ()
        )
        return cls(**known)


@dataclass(frozen=True)
class JobError:
    """Reason of a failed job: a stable code, and a message for people."""

    code: str
    message: str


@dataclass(frozen=True)
class Job:
    """State of a job on the server.

    `position`: place in the queue, 1 is next. `expected_seconds`: until it ends, if known. `name`:
    yours. `favourite`: it is kept until you delete it. `made_by`, `model`, `licence`, `notes`: of a
    completed job; the licence is that of the weights. `raw`: the whole JSON answer.
    """

    id: str
    status: State
    progress: float
    position: int | None
    expected_seconds: float | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    clips: tuple[JobClip, ...] = ()
    made_by: str | None = None
    model: str | None = None
    licence: str | None = None
    notes: tuple[str, ...] = ()
    error: JobError | None = None
    stream_url: str | None = None
    name: str | None = None
    favourite: bool = False
    priority: int = 0
    attempt: int = 0
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.status in FINAL

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Job:
        """Build a job from the JSON answer of `/status`."""
        result, error = mapping.get("result") or {}, mapping.get("error")
        if mapping["status"] not in get_args(State):
            raise ValueError(mapping["status"])
        return cls(
            id=mapping["job_id"],
            status=cast(State, mapping["status"]),
            progress=mapping["progress"],
            position=mapping.get("position"),
            expected_seconds=mapping.get("expected_seconds"),
            created_at=_read_time(mapping["created_at"]),
            started_at=_read_optional_time(mapping.get("started_at")),
            finished_at=_read_optional_time(mapping.get("finished_at")),
            clips=tuple(map(JobClip.from_mapping, result.get("clips", ()))),
            made_by=result.get("made_by"),
            model=result.get("model"),
            licence=result.get("licence"),
            notes=tuple(result.get("notes") or ()),
            error=JobError(error["code"], error["message"]) if error else None,
            stream_url=mapping.get("stream_url"),
            name=mapping.get("name"),
            favourite=mapping.get("favourite", False),
            priority=mapping.get("priority", 0),
            attempt=mapping.get("attempt", 0),
            request=mapping.get("request") or {},
            raw=mapping,
        )


@dataclass(frozen=True)
class JobPage:
    """Some jobs, newest first. `next`: the value of `before` for the next page, None at the end."""

    jobs: tuple[Job, ...]
    next: str | None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> JobPage:
        """Build a page from the JSON answer of `/jobs`."""
        return cls(tuple(map(Job.from_mapping, mapping["jobs"])), mapping.get("next"))


@dataclass(frozen=True)
class Upload:
    """Stored sound. `input_audio`: the value for this field of a request."""

    id: str
    input_audio: str
    bytes: int
    seconds: float
    expires_at: datetime

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Upload:
        """Build an upload from the JSON answer of `/uploads`."""
        return cls(
            mapping["upload_id"],
            mapping["input_audio"],
            mapping["bytes"],
            mapping["seconds"],
            _read_time(mapping["expires_at"]),
        )


@dataclass(frozen=True)
class StoredUpload:
    """Upload in a list. `input_audio`: the value for this field of a request."""

    id: str
    input_audio: str
    bytes: int
    created_at: datetime
    expires_at: datetime

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> StoredUpload:
        """Build an upload from its JSON."""
        return cls(
            mapping["upload_id"],
            mapping["input_audio"],
            mapping["bytes"],
            _read_time(mapping["created_at"]),
            _read_time(mapping["expires_at"]),
        )


@dataclass(frozen=True)
class UploadPage:
    """Some uploads, newest first. `next`: the value of `before` for the next page."""

    uploads: tuple[StoredUpload, ...]
    next: str | None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> UploadPage:
        """Build a page from the JSON answer of `/uploads`."""
        return cls(tuple(map(StoredUpload.from_mapping, mapping["uploads"])), mapping.get("next"))


@dataclass(frozen=True)
class DeletedCounts:
    """Number of deleted jobs and uploads."""

    jobs: int
    uploads: int

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> DeletedCounts:
        """Build the counts from their JSON."""
        return cls(int(mapping["jobs"]), int(mapping["uploads"]))


@dataclass(frozen=True)
class Model:
    """Model of a server. `licence`: that of its weights; CC-BY-NC-4.0 forbids commercial use.

    `follows`: "text", "text and melody", "text and style" or "unknown". `memory_gb`: by precision.
    `error`: reason of the last failed load.
    """

    id: str
    licence: str
    follows: str
    channels: int
    memory_gb: Mapping[str, float | None]
    loaded: bool
    loading: bool
    error: str | None = None

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Model:
        """Build a model from its JSON."""
        return cls(
            mapping["id"],
            mapping["licence"],
            mapping["follows"],
            mapping["channels"],
            mapping["memory_gb"],
            mapping["loaded"],
            mapping["loading"],
            mapping.get("error"),
        )


@dataclass(frozen=True)
class ModelList:
    """Models of a server. `default`: the id of the model for requests without one."""

    default: str
    models: tuple[Model, ...]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> ModelList:
        """Build the list from the JSON answer of `/models`."""
        return cls(mapping["default"], tuple(map(Model.from_mapping, mapping["data"])))


def read_load_state(mapping: Mapping[str, Any]) -> Literal["loading", "loaded"]:
    """Return the state of a requested load."""
    state = mapping["status"]
    if state not in ("loading", "loaded"):
        raise ValueError(state)
    return cast(Literal["loading", "loaded"], state)


def _read_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _read_optional_time(text: str | None) -> datetime | None:
    return None if text is None else _read_time(text)
