"""Sound: finished clips in any format and range, clips while they are made, and uploads."""

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

from handlers.job_api.api.auth import require
from handlers.job_api.api.context import Context
from handlers.job_api.api.routes_jobs import Who
from handlers.job_api.api.schemas import ErrorReply, Upload
from handlers.job_api.errors import NotFound, NotYet
from handlers.job_api.store import jobs
from handlers.job_api.store.database import query
from handlers.job_api.store.files import UPLOAD, clips_of
from musicgen.audio.decode import read_audio
from musicgen.audio.encode import content_type
from musicgen.request.limits import OUTPUT_FORMATS, VARIATIONS_MAX

LOOK_AGAIN_SECONDS = 0.2
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
    who: Who,
    job_id: str,
    clip: Annotated[int, Query(ge=1, le=VARIATIONS_MAX)] = 1,
) -> Response:
    """The sound of a job while it is made, from its beginning; of one that has ended the clip."""
    context: Context = request.app.state.context
    row = await jobs.get(context.pool, job_id, who.owner)
    if row is None or clip > clips_of(row["request"]):
        raise NotFound("there is no such clip")
    extension = row["request"].get("output_format", "wav")
    if row["state"] == "completed":
        return await _whole(context, row, clip, extension)
    growing = context.files.growing_path(f"{job_id}-{row['queue_id']}", clip)
    if not row["streams"] or not growing.exists():
        raise NotYet("there is nothing to hear of this job: it waits, has ended, or is of a format "
                     "that is not streamed")  # fmt: skip
    return StreamingResponse(
        _grown(context, job_id, growing.open("rb")),
        media_type=content_type(extension),
        headers={"Cache-Control": "no-store"},
    )


@router.get(
    "/audio/{name}",
    response_class=FileResponse,
    responses={**_ERRORS, 200: {"content": {"audio/*": {}}}, 206: {"description": "a range"},
               307: {"description": "the clip is in a bucket"},
               416: {"description": "no such range"}},
)  # fmt: skip
async def audio(request: Request, who: Who, name: str) -> Response:
    """A clip of a finished job: JOB.wav, JOB-2.wav for the second one; another extension converts
    it. Ranges are answered."""
    found = _NAME.fullmatch(name)
    if found is None or found[3] not in OUTPUT_FORMATS:
        raise NotFound(f"a clip is named JOB.wav, with one of {', '.join(OUTPUT_FORMATS)}")
    context: Context = request.app.state.context
    row = await jobs.get(context.pool, found[1], who.owner)
    number = int(found[2] or 1)
    if row is None or number > clips_of(row["request"]):
        raise NotFound("there is no such clip")
    if row["state"] != "completed":
        raise NotFound(f"this job is {row['state']}: it has no clip yet")
    return await _whole(context, row, number, found[3])


@router.post(
    "/uploads",
    status_code=201,
    response_model=Upload,
    responses={**_ERRORS, 408: {"model": ErrorReply}, 413: {"model": ErrorReply}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
            },
        }
    },
)
async def upload(request: Request, who: Who) -> JSONResponse:
    """Keeps a sound for a day, to be named as input_audio. The body is the file itself."""
    context: Context = request.app.state.context
    require(who, "generate")
    upload_id, size = await context.files.upload(who.owner, request.stream())
    try:
        path = context.files.uploaded(who.owner, UPLOAD + upload_id)
        pcm, rate = await asyncio.to_thread(read_audio, path)
    except Exception:
        context.files.remove_upload(upload_id)
        raise
    await query(
        context.pool,
        "INSERT INTO musicgen_uploads (id, owner, bytes) VALUES (%s, %s, %s)",
        *(upload_id, who.owner, size),
    )
    until = datetime.now(timezone.utc) + timedelta(hours=context.settings.upload_hours)
    return JSONResponse(
        {
            "upload_id": upload_id,
            "input_audio": UPLOAD + upload_id,
            "bytes": size,
            "seconds": round(len(pcm) / rate, 3),
            "expires_at": until.isoformat(timespec="seconds"),
        },
        201,
    )


async def _whole(context: Context, row: dict[str, Any], number: int, extension: str) -> Response:
    own = row["request"].get("output_format", "wav")
    address = row["result"]["clips"][number - 1].get("address") or ""
    if address.startswith(("http://", "https://")):
        if extension != own:
            raise NotFound(f"this clip is in a bucket, as {own}")
        return RedirectResponse(await asyncio.to_thread(context.files.fresh, address), 307)
    path = context.files.clip(f"{row['id']}-{row['queue_id']}", number, own)
    if extension != own:
        path = await asyncio.to_thread(partial(context.files.converted, path, extension))
    if not path.exists():
        raise NotFound("this clip is not kept any more")
    name = f"{row['id']}-{number}.{extension}"
    return FileResponse(
        path,
        media_type=content_type(extension),
        filename=name,
        content_disposition_type="inline",
        headers={"Cache-Control": "private, max-age=3600"},
    )


async def _grown(context: Context, job_id: str, file: BinaryIO) -> AsyncIterator[bytes]:
    """What is written to a file until its job has ended, or is begun anew by another worker."""
    with file:
        ended = False
        while True:
            block = await asyncio.to_thread(file.read, _BLOCK)
            if block:
                yield block
            elif ended or context.draining:
                return
            else:
                # A file that is gone is complete: what it holds was read after this.
                ended = not Path(file.name).exists()
                await asyncio.sleep(0 if ended else LOOK_AGAIN_SECONDS)
