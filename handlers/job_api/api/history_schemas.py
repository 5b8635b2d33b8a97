"""Schemas of the calls that keep and delete: changes of a job, uploads, deletions."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

NAME_MAX_CHARACTERS = 80


class JobPatch(BaseModel):
    """Changes of a job; a field left out stays."""

    name: str | None = Field(
        None, max_length=NAME_MAX_CHARACTERS, description="null or an empty text for no name"
    )
    favourite: StrictBool | None = Field(
        None, description="true keeps the job beyond the lifetime of finished jobs"
    )

    model_config = ConfigDict(extra="forbid")


class Deletion(BaseModel):
    """Deletion whose files go later, because the storage is unavailable."""

    status: Literal["deleting"] = "deleting"


class DeletedData(BaseModel):
    """Number of deleted jobs and uploads."""

    jobs: int
    uploads: int


class UploadEntry(BaseModel):
    """Stored audio file."""

    upload_id: str
    input_audio: str = Field(description="value for the field input_audio of a request")
    bytes: int
    created_at: datetime
    expires_at: datetime


class Uploads(BaseModel):
    """Page of a caller's uploads."""

    uploads: list[UploadEntry]
    next: str | None = Field(None, description="value of `before` for the next page")
