"""Results of tools: a text for the model, fields, links, and the sound of short clips."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import Annotations, AudioContent, CallToolResult, ResourceLink, TextContent
from pydantic import BaseModel, Field

from handlers.mcp.job_calls import JobCalls

AUDIO_MAX_BYTES = 500_000
"""Limit of the sound within one result. Some clients refuse results of more than a megabyte."""
_FOR_PEOPLE = Annotations(audience=["user"])


class FileLink(BaseModel):
    """One finished file."""

    url: str = Field(description="address of the file")
    file: str | None = Field(
        default=None, description="path of the saved file on the user's machine"
    )
    content_type: str | None = None
    bytes: int | None = None


class PartReply(FileLink):
    """Stem or notes of a clip."""

    name: str = Field(description="such as drums, bass, vocals, other or midi")


class ClipReply(FileLink):
    """One finished clip."""

    seed: int | None = None
    seconds: float | None = None
    parts: list[PartReply] = Field([], description="stems and notes, if they were requested")


class JobReply(BaseModel):
    """State of a job, with its clips once it is completed."""

    job_id: str
    status: str = Field(description="queued, running, completed, failed or cancelled")
    progress: float = Field(description="from 0 to 1")
    prompt: str | None = None
    position: int | None = Field(None, description="place in the queue, 1 is next")
    expected_seconds: float | None = None
    model: str | None = None
    licence: str | None = Field(None, description="licence of the model's weights")
    error: str | None = None
    notes: list[str] = []
    clips: list[ClipReply] = []


class ClipList(BaseModel):
    """Page of the caller's jobs."""

    jobs: list[JobReply]
    next: str | None = Field(None, description="value of `before` for the next page")


class ClipDeletion(BaseModel):
    """Deletion of a job with its clips."""

    job_id: str
    is_gone: bool = Field(description="false: files in the bucket go once it answers")


class ModelList(BaseModel):
    """Models, with the licence of each."""

    default: str
    models: list[dict[str, Any]]


def describe_job(status: Mapping[str, Any], public_url: str) -> JobReply:
    """Return the fields of a job for a result."""
    result, error = status.get("result") or {}, status.get("error")
    request = status["request"]
    return JobReply(
        job_id=status["job_id"],
        status=status["status"],
        progress=status["progress"],
        position=status.get("position"),
        expected_seconds=status.get("expected_seconds"),
        prompt=request.get("prompt"),
        model=result.get("model") or request.get("model_version"),
        licence=result.get("licence"),
        error=f"{error['code']}: {error['message']}" if error else None,
        notes=result.get("notes") or [],
        clips=[
            ClipReply(
                **{name: clip.get(name) for name in ("seed", "seconds", "content_type", "bytes")},
                url=f"{public_url}{clip['url']}",
                parts=[_describe_part(part, public_url) for part in clip.get("parts") or ()],
            )
            for clip in result.get("clips", ())
        ],
    )


def _describe_part(part: Mapping[str, Any], public_url: str) -> PartReply:
    return PartReply(
        name=part["name"],
        url=f"{public_url}{part['url']}",
        file=None,
        content_type=part.get("content_type"),
        bytes=part.get("bytes"),
    )


async def build_result(
    calls: JobCalls, status: Mapping[str, Any], *, with_audio: bool, folder: Path | None
) -> CallToolResult:
    """Return the result of a tool for one job.

    `with_audio`: include the sound of clips up to `AUDIO_MAX_BYTES` together. `folder`: save the
    clips and their parts there.
    """
    reply = describe_job(status, calls.public_url)
    content: list[Any] = []
    room = AUDIO_MAX_BYTES if with_audio else 0
    for clip in reply.clips:
        files: list[FileLink] = [clip, *clip.parts]
        for file in files:
            if folder is not None:
                file.file = str(await _save(calls, _path(file, calls), folder))
            content.append(_link(file))
        if clip.bytes is not None and clip.bytes <= room:
            sound = await calls.download(_path(clip, calls), room)
            if sound is not None:
                room -= len(sound)
                data = base64.b64encode(sound).decode()
                kind = clip.content_type or "audio/wav"
                content.append(AudioContent(data=data, mime_type=kind, annotations=_FOR_PEOPLE))
    return CallToolResult(
        content=[TextContent(text=_write_text(reply, calls)), *content],
        structured_content=reply.model_dump(),
        is_error=reply.status == "failed",
    )


def _path(file: FileLink, calls: JobCalls) -> str:
    return file.url.removeprefix(calls.public_url)


def _link(file: FileLink) -> ResourceLink:
    name, kind = file.url.rpartition("/")[2], file.content_type or "audio/wav"
    return ResourceLink(name=name, uri=file.url, mime_type=kind, size=file.bytes)


async def _save(calls: JobCalls, path: str, folder: Path) -> Path:
    """Save a file and return its path. Raises: `ToolError`."""
    sound = await calls.download(path, 2**40)
    assert sound is not None
    target = folder.expanduser().absolute() / path.rpartition("/")[2]
    try:
        await anyio.to_thread.run_sync(_write_whole, target, sound)
    except OSError as error:
        raise ToolError(
            f"Cannot write {target}: {error.strerror}. The file is at {path}."
        ) from None
    return target


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears complete under its name, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_text(reply: JobReply, calls: JobCalls) -> str:
    """Return the text of a result, with the next step of an agent."""
    name = f"Job {reply.job_id}"
    if reply.status == "completed":
        lines = [f"{name} is completed ({reply.model}, licence of the weights: {reply.licence})."]
        for clip in reply.clips:
            lines.append(f"- {clip.url}: {clip.seconds:g} s, seed {clip.seed}{_tell_saved(clip)}")
            lines += [f"  - {part.name}: {part.url}{_tell_saved(part)}" for part in clip.parts]
        if calls.needs_key:
            lines.append("The links need the header Authorization: Bearer KEY.")
        return "\n".join(lines + [f"Note: {note}" for note in reply.notes])
    if reply.status == "failed":
        return f"{name} failed. {reply.error}"
    if reply.status == "cancelled":
        return f"{name} was cancelled."
    where = describe_progress(reply.status, reply.progress, reply.position)
    left = "" if reply.expected_seconds is None else f" About {reply.expected_seconds:g} s left."
    return (
        f"{name} is not finished: {where}.{left} Call get_clip with this job_id and "
        "wait_seconds to wait for it, or cancel to stop it."
    )


def _tell_saved(file: FileLink) -> str:
    return f", saved as {file.file}" if file.file else ""


def describe_progress(status: str, progress: float, position: int | None) -> str:
    """Return the progress of an unfinished job in words."""
    if status == "queued":
        return "waiting" if position is None else f"waiting, number {position} in the queue"
    return f"{progress:.0%} made"
