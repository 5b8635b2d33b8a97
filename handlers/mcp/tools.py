"""Tools for agents: make, continue, fetch, list, cancel and delete music, and list models.

Docstrings are the descriptions that a model reads. The job API checks every value.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, Field

from handlers.mcp.job_calls import FINAL, Connect, JobCalls
from handlers.mcp.replies import (
    ClipDeletion,
    ClipList,
    JobReply,
    ModelList,
    build_result,
    describe_job,
    describe_progress,
)
from musicgen.errors.counts import format_count
from musicgen.request import request_fields

WAIT_SECONDS = 50.0
"""Default wait of a tool. Many clients give up on a call after 60 seconds."""
WAIT_MAX_SECONDS = 600.0
_CANCEL_SECONDS = 5.0
_FIELDS = request_fields()


def _describe(name: str, more: str = "") -> Any:
    """Return the schema of a request field: bounds are told here, and checked by the job API."""
    spec = _FIELDS[name]
    bounds = {"minimum": spec.low, "maximum": spec.high, "enum": list(spec.choices) or None}
    extra: dict[str, Any] = {key: bound for key, bound in bounds.items() if bound is not None}
    return Field(description=f"{spec.description}{more}", json_schema_extra=extra)


Prompt = Annotated[str, _describe("prompt")]
Duration = Annotated[float, _describe("duration")]
Model = Annotated[str | None, _describe("model_version", " list_models names them.")]
Seed = Annotated[int | None, _describe("seed")]
Format = Annotated[str, _describe("output_format")]
Wait = Annotated[
    float,
    Field(
        description="Longest wait for the end of the job, in seconds. The job goes on afterwards; "
        "get_clip returns it.",
        ge=0,
        le=WAIT_MAX_SECONDS,
    ),
]
WithAudio = Annotated[bool, Field(description="Include the sound of short clips in the result.")]
Options = Annotated[
    dict[str, Any] | None,
    Field(
        description="Other fields of a request, such as temperature, classifier_free_guidance, "
        "fade_in, fade_out, trim_silence, sample_rate or sections. The error for an unknown field "
        "lists all."
    ),
]
JobId = Annotated[str, Field(description="The job_id of an earlier result.")]
JobResult = Annotated[CallToolResult, JobReply]


class MusicTools:
    """The tools. `connect` opens the calls of one tool call; `folder`: save clips there."""

    def __init__(self, connect: Connect, folder: Path | None) -> None:
        self._connect = connect
        self._folder = folder

    async def generate_music(
        self,
        prompt: Prompt,
        ctx: Context[Any, Any],
        duration: Duration = 8.0,
        model_version: Model = None,
        seed: Seed = None,
        variations: Annotated[int, _describe("variations")] = 1,
        negative_prompt: Annotated[str, _describe("negative_prompt")] = "",
        loop: Annotated[bool, _describe("loop")] = False,
        bpm: Annotated[float | None, _describe("bpm")] = None,
        input_audio: Annotated[
            str | None, Field(description="URL of a melody to follow; needs a melody model.")
        ] = None,
        output_format: Format = "mp3",
        options: Options = None,
        wait_seconds: Wait = WAIT_SECONDS,
        include_audio: WithAudio = True,
    ) -> JobResult:
        """Make instrumental music from a description, and wait for it.

        Returns links to the clips with their seeds and the licence of the model's weights. Meta's
        weights are CC-BY-NC-4.0: tell the user that the music is not for commercial use. Cancelling
        the call cancels the job.
        """
        fields = {
            "prompt": prompt,
            "duration": duration,
            "variations": variations,
            "output_format": output_format,
            **_drop_unset(
                model_version=model_version,
                seed=seed,
                negative_prompt=negative_prompt or None,
                loop=loop or None,
                bpm=bpm,
                input_audio=input_audio,
            ),
        }
        async with self._connect(ctx.request_context.request) as calls:
            job_id = await _submit(calls, fields, options)
            return await self._finish(calls, ctx, job_id, wait_seconds, include_audio)

    async def continue_music(
        self,
        job_id: JobId,
        prompt: Prompt,
        ctx: Context[Any, Any],
        duration: Annotated[
            float, _describe("duration", " Must be longer than the clip to continue.")
        ],
        clip: Annotated[int, Field(description="Number of the clip, from 1.")] = 1,
        continuation_start: Annotated[float, _describe("continuation_start")] = 0.0,
        continuation_end: Annotated[float, _describe("continuation_end")] = -1.0,
        model_version: Model = None,
        seed: Seed = None,
        output_format: Format = "mp3",
        options: Options = None,
        wait_seconds: Wait = WAIT_SECONDS,
        include_audio: WithAudio = True,
    ) -> JobResult:
        """Continue a clip of an earlier job with more music, and wait for it.

        The new clip begins with the old one. Cancelling the call cancels the job.
        """
        async with self._connect(ctx.request_context.request) as calls:
            source = await calls.read(job_id)
            urls = source["audio_urls"] or []
            if not 1 <= clip <= len(urls):
                raise ToolError(
                    f"clip: there is no clip {clip}; the job is {source['status']} and has "
                    f"{format_count(len(urls), 'clip')}."
                )
            fields = {
                "prompt": prompt,
                "duration": duration,
                "input_audio": await calls.copy_clip(urls[clip - 1]),
                "continuation": True,
                "continuation_start": continuation_start,
                "continuation_end": continuation_end,
                "output_format": output_format,
                **_drop_unset(model_version=model_version, seed=seed),
            }
            new_id = await _submit(calls, fields, options)
            return await self._finish(calls, ctx, new_id, wait_seconds, include_audio)

    async def get_clip(
        self,
        job_id: JobId,
        ctx: Context[Any, Any],
        wait_seconds: Wait = 0.0,
        include_audio: WithAudio = True,
    ) -> JobResult:
        """Return the state of a job and its clips; with wait_seconds, wait for its end."""
        async with self._connect(ctx.request_context.request) as calls:
            status = await _wait(calls, ctx, job_id, wait_seconds)
            return await self._reply(calls, status, include_audio)

    async def list_clips(
        self,
        ctx: Context[Any, Any],
        limit: Annotated[int, Field(description="Number of jobs, 1 to 100.")] = 10,
        status: Annotated[
            str | None,
            Field(
                description="Only jobs that are queued, running, completed, failed or cancelled."
            ),
        ] = None,
        before: Annotated[
            str | None, Field(description="The value `next` of the page before.")
        ] = None,
    ) -> Annotated[CallToolResult, ClipList]:
        """List the caller's jobs with their clips, newest first."""
        async with self._connect(ctx.request_context.request) as calls:
            page = await calls.list_jobs(limit=limit, status=status, before=before)
            jobs = [describe_job(job, calls.public_url) for job in page["jobs"]]
        found = ClipList(jobs=jobs, next=page["next"])
        lines = [
            f"- {job.job_id} {job.status}: {job.prompt!r} {' '.join(c.url for c in job.clips)}"
            for job in jobs
        ]
        return _answer("\n".join(lines) or "There are no jobs.", found)

    async def cancel(self, job_id: JobId, ctx: Context[Any, Any]) -> JobResult:
        """Cancel a queued or running job. A finished job stays as it is."""
        async with self._connect(ctx.request_context.request) as calls:
            status = await calls.cancel(job_id)
            return await self._reply(calls, status, include_audio=False)

    async def delete_clip(
        self, job_id: JobId, ctx: Context[Any, Any]
    ) -> Annotated[CallToolResult, ClipDeletion]:
        """Delete a job with its clips, for good. Ask the user before."""
        async with self._connect(ctx.request_context.request) as calls:
            is_gone = await calls.delete(job_id)
        later = "" if is_gone else " Its files go as soon as the storage answers."
        return _answer(
            f"Deleted job {job_id}.{later}", ClipDeletion(job_id=job_id, is_gone=is_gone)
        )

    async def list_models(self, ctx: Context[Any, Any]) -> Annotated[CallToolResult, ModelList]:
        """List the models for model_version, with the licence of each and the default."""
        async with self._connect(ctx.request_context.request) as calls:
            answer = await calls.models()
        models = [{"name": model["id"], **model} for model in answer["data"]]
        found = ModelList(default=answer["default"], models=models)
        lines = [
            f"- {model['name']}: follows {model['follows']}, licence {model['licence']}"
            f"{', loaded' if model['loaded'] else ''}"
            for model in models
        ]
        return _answer("\n".join([f"Default: {found.default}", *lines]), found)

    async def _finish(
        self,
        calls: JobCalls,
        ctx: Context[Any, Any],
        job_id: str,
        seconds: float,
        include_audio: bool,
    ) -> CallToolResult:
        """Wait for a new job. A cancelled call cancels it, unless the server stops."""
        try:
            status = await _wait(calls, ctx, job_id, seconds)
        except anyio.get_cancelled_exc_class():
            if calls.is_stopping():
                raise
            with suppress(ToolError), anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                await calls.cancel(job_id)
            raise
        return await self._reply(calls, status, include_audio)

    async def _reply(
        self, calls: JobCalls, status: Mapping[str, Any], include_audio: bool
    ) -> CallToolResult:
        return await build_result(calls, status, with_audio=include_audio, folder=self._folder)


async def _submit(
    calls: JobCalls, fields: Mapping[str, Any], options: Mapping[str, Any] | None
) -> str:
    """Submit a job and return its id."""
    twice = sorted(set(fields) & set(options or ()))
    if twice:
        raise ToolError(f"options: {', '.join(twice)} must be given as an argument of its own.")
    # A job of a call cancelled meanwhile would be made for nobody.
    with anyio.CancelScope(shield=True):
        job_id = await calls.submit({**fields, **(options or {})})
    return job_id  # noqa: RET504


async def _wait(
    calls: JobCalls, ctx: Context[Any, Any], job_id: str, seconds: float
) -> Mapping[str, Any]:
    """Report the progress of a job until it ends or the time is over; return its status."""
    reported = -1.0
    with anyio.move_on_after(seconds):
        async with aclosing(calls.follow(job_id)) as states:
            async for status in states:
                if status["status"] in FINAL:
                    return status
                # Values of a progress must increase.
                if (progress := float(status["progress"])) > reported:
                    reported = progress
                    text = describe_progress(status["status"], progress, status["position"])
                    await ctx.report_progress(progress, 1.0, text)
    return await calls.read(job_id)


def _drop_unset(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _answer(text: str, fields: BaseModel) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], structured_content=fields.model_dump())
