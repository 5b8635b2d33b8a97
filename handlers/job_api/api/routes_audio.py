"""Routes of audio: finished clips in any format, live audio of running jobs, and uploads."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Query, Request
from fastapi.responses import (
    FileResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from handlers.job_api.api.auth import find_client, require_scope
from handlers.job_api.api.context import Context
from handlers.job_api.api.routes_jobs import CurrentCaller
from handlers.job_api.api.schemas import ErrorReply, Upload
from handlers.job_api.errors import AudioUnavailable, NotFound
from handlers.job_api.store import jobs
from handlers.job_api.store.files import CLIP_DELETED, UPLOAD, count_clips
from musicgen.audio.encode import content_type
from musicgen.request.limits import OUTPUT_FORMATS, VARIATIONS_MAX

POLL_SECONDS = 0.2
NO_CLIP = "No such clip, or the job has been deleted."
_BLOCK = 2**16
_NAME = re.compile(r"([0-9a-f]{32})(?:-([1-9]\d?))?\.([a-z0-9]{1,5})")
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 404, 409, 422, 429, 503)
}

router = APIRouter(tags=["audio"])


@router.get(
    "/audio/{job_id}/stream",
    response_class=StreamingResponse,
    responses={**_ERRORS, 200: {"content": {"audio/*": {}}}},
)
async def stream(
    request: Request,
    caller: CurrentCaller,
    job_id: str,
    clip: Annotated[int, Query(ge=1, le=VARIATIONS_MAX)] = 1,
) -> Response:
    """Stream the live audio of a running job from its beginning, or the clip of a completed job."""
    context: Context = request.app.state.context
    row = await jobs.get(context.pool, job_id, caller.owner)
    if row is None or clip > count_clips(row["request"]):
        raise NotFound(NO_CLIP)
    extension = row["request"].get("output_format", "wav")
    if row["state"] == "completed":
        return await _send_clip(context, row, clip, extension)
    live = context.files.get_live_path(f"{job_id}-{row['queue_id']}", clip)
    if not row["streams"] or not live.exists():
        raise AudioUnavailable(
            "No live audio: the job is queued, has finished, or its format cannot be streamed."
        )
    return StreamingResponse(
        _follow_live_file(context, live.open("rb")),
        media_type=content_type(extension),
        headers={"Cache-Control": "no-store"},
    )


@router.get(
    "/audio/{name}",
    response_class=FileResponse,
    responses={
        **_ERRORS,
        200: {"content": {"audio/*": {}}},
        206: {"description": "The requested range"},
        307: {"description": "Redirect to the clip in the bucket"},
        416: {"description": "The range is outside the file"},
    },
)
async def audio(request: Request, caller: CurrentCaller, name: str) -> Response:
    """Send a clip of a completed job: JOB.wav for the first one, JOB-2.wav for the second.

    Another extension converts the clip. Range requests are supported.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[3] not in OUTPUT_FORMATS:
        formats = ", ".join(OUTPUT_FORMATS)
        raise NotFound(f"No such clip: the name must be JOB.wav, with an extension of {formats}.")
    context: Context = request.app.state.context
    row = await jobs.get(context.pool, match[1], caller.owner)
    number = int(match[2] or 1)
    if row is None or number > count_clips(row["request"]):
        raise NotFound(NO_CLIP)
    if row["state"] != "completed":
        raise NotFound(f"No clip: the job is {row['state']}, not completed.")
    return await _send_clip(context, row, number, match[3])


@router.post(
    "/uploads",
    status_code=201,
    response_model=Upload,
    responses={**_ERRORS, **{status: {"model": ErrorReply} for status in (408, 413, 507)}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def upload(request: Request, caller: CurrentCaller) -> JSONResponse:
    """Store an audio file for use as input_audio, for a day by default.

    The body is the file itself.
    """
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    size = request.headers.get("content-length", "")
    stored = await context.uploads.store_body(
        caller.owner,
        find_client(request, caller),
        int(size) if size.isdecimal() else None,
        request.stream(),
    )
    until = datetime.now(timezone.utc) + timedelta(hours=context.settings.upload_hours)
    return JSONResponse(
        {
            "upload_id": stored.id,
            "input_audio": UPLOAD + stored.id,
            "bytes": stored.bytes,
            "seconds": round(stored.seconds, 3),
            "expires_at": until.isoformat(timespec="seconds"),
        },
        201,
    )


async def _send_clip(
    context: Context, row: dict[str, Any], number: int, extension: str
) -> Response:
    """Send a clip from disk, converted if needed, or redirect to the bucket."""
    own = row["request"].get("output_format", "wav")
    address = row["result"]["clips"][number - 1].get("address") or ""
    if address.startswith(("http://", "https://")):
        if extension != own:
            raise NotFound(f"A clip in the bucket cannot be converted. It is available as {own}.")
        return RedirectResponse(await asyncio.to_thread(context.files.renew_address, address), 307)
    path = context.files.get_clip_path(f"{row['id']}-{row['queue_id']}", number, own)
    if extension != own:
        path = await asyncio.to_thread(partial(context.files.convert_clip, path, extension))
    if not path.exists():
        raise NotFound(CLIP_DELETED)
    name = f"{row['id']}-{number}.{extension}"
    return FileResponse(
        path,
        media_type=content_type(extension),
        filename=name,
        content_disposition_type="inline",
        headers={"Cache-Control": "private, max-age=3600"},
    )


async def _follow_live_file(context: Context, file: BinaryIO) -> AsyncIterator[bytes]:
    """Yield the content of a live file until its run has ended."""
    with file:
        is_complete = False
        while True:
            block = await asyncio.to_thread(file.read, _BLOCK)
            if block:
                yield block
            elif is_complete or context.draining:
                return
            else:
                # A deleted file is complete; read its rest before the end.
                is_complete = not Path(file.name).exists()
                await asyncio.sleep(0 if is_complete else POLL_SECONDS)
