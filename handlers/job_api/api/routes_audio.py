"""Routes of audio: finished clips in any format, live audio of running jobs, and uploads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse

from handlers.job_api.api.auth import find_client, require_scope
from handlers.job_api.api.clip_responses import RequestedClip, send_clip
from handlers.job_api.api.context import Context
from handlers.job_api.api.counted_streams import CheckedStream
from handlers.job_api.api.live_audio import open_live_audio
from handlers.job_api.api.openapi.media import (
    BYTES,
    CLIP,
    CLIP_PART,
    LIVE_AUDIO,
    REDIRECT,
    UNCHANGED,
    type_reply,
)
from handlers.job_api.api.routes_jobs import CurrentCaller
from handlers.job_api.api.schemas import ErrorReply, Upload
from handlers.job_api.api.waiting import AwaitedJob
from handlers.job_api.errors import AudioUnavailable, NotFound
from handlers.job_api.store import jobs
from handlers.job_api.store.files import count_clips
from handlers.job_api.store.upload_files import UPLOAD
from musicgen.audio.encode import content_type
from musicgen.errors import InvalidInputAudio
from musicgen.errors.sound_reasons import SoundReason
from musicgen.midi import packages as midi
from musicgen.request.limits import OUTPUT_FORMATS, VARIATIONS_MAX

CLIP_EXTENSIONS = (*OUTPUT_FORMATS, midi.EXTENSION)
NO_CLIP = "No such clip, or the job has been deleted."
_NAME = re.compile(r"([0-9a-f]{32})(?:-([1-9]\d?))?(?:-([a-z][a-z0-9_]{0,23}))?\.([a-z0-9]{1,5})")
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 404, 409, 422, 429, 503)
}

router = APIRouter(tags=["audio"])


@router.get(
    "/audio/{job_id}/stream",
    response_class=StreamingResponse,
    responses={
        **_ERRORS,
        200: LIVE_AUDIO,
        206: CLIP_PART,
        304: UNCHANGED,
        307: REDIRECT,
        412: {"model": ErrorReply},
        416: {"model": ErrorReply},
        502: {"model": ErrorReply},
    },
)
async def stream_audio(
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
        clip_reply = await send_clip(request, context.files, RequestedClip(row, clip, extension))
        return type_reply(request, clip_reply)
    listening = open_live_audio(context, row, clip)
    if listening is None:
        raise AudioUnavailable(
            "No live audio: the job is queued, has finished, or its format cannot be streamed."
        )
    # A stream for HEAD would last as long as the job, for nobody.
    is_head = request.method == "HEAD"
    job = AwaitedJob(context, caller.owner, job_id, is_kept=True)
    live = CheckedStream(
        context.streams,
        find_client(request, caller),
        () if is_head else job.follow_to_end(listening),
        media_type=content_type(extension),
        headers={"Cache-Control": "no-store"},
    )
    return type_reply(request, live)


@router.get(
    "/audio/{name}",
    response_class=FileResponse,
    responses={
        **_ERRORS,
        200: CLIP,
        206: CLIP_PART,
        304: UNCHANGED,
        307: REDIRECT,
        412: {"model": ErrorReply},
        416: {"model": ErrorReply},
        501: {"model": ErrorReply, "description": "The server lacks the packages for MIDI"},
        502: {"model": ErrorReply},
        507: {"model": ErrorReply},
    },
)
async def get_audio(
    request: Request, caller: CurrentCaller, name: str, download: bool = False
) -> Response:
    """Send a clip of a completed job: JOB.wav for the first one, JOB-2.wav for the second.

    JOB-drums.wav and JOB-2-drums.wav are stems of them, for a request with `stems`.

    Another extension converts the clip; `mid` transcribes its notes as MIDI, if the server has the
    packages. Range requests are supported. `download` asks browsers to save the clip under the name
    in Content-Disposition.
    """
    match = _NAME.fullmatch(name)
    if match is None or match[4] not in CLIP_EXTENSIONS:
        formats = ", ".join(CLIP_EXTENSIONS)
        raise NotFound(f"No such clip: the name must be JOB.wav, with an extension of {formats}.")
    context: Context = request.app.state.context
    row = await jobs.get(context.pool, match[1], caller.owner)
    if row is None or int(match[2] or 1) > count_clips(row["request"]):
        raise NotFound(NO_CLIP)
    if row["state"] != "completed":
        raise NotFound(f"No clip: the job is {row['state']}, not completed.")
    requested = RequestedClip(row, int(match[2] or 1), match[4], download, match[3] or "")
    if match[3] == midi.PART or (match[3] and requested.part is None):
        raise NotFound(f"No such stem: the clip has no part {match[3]}.")
    return type_reply(request, await send_clip(request, context.files, requested))


@router.post(
    "/uploads",
    status_code=201,
    response_model=Upload,
    responses={**_ERRORS, **{status: {"model": ErrorReply} for status in (408, 413, 502, 507)}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_sound(request: Request, caller: CurrentCaller) -> JSONResponse:
    """Store an audio file for use as input_audio, for a day by default.

    The body is the file itself.
    """
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        problem = SoundReason("a_form")
        raise InvalidInputAudio("body", problem, advice="With curl: --data-binary @FILE.")
    size = request.headers.get("content-length", "")
    stored = await context.uploads.store_body(
        caller.owner,
        find_client(request, caller),
        int(size) if size.isdecimal() else None,
        request.stream(),
    )
    until = datetime.now(UTC) + timedelta(hours=context.settings.upload_hours)
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
