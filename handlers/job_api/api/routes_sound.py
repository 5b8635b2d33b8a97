"""Routes that wait for their job and answer its sound, in the shapes of other APIs."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from handlers.job_api.api.auth import find_client
from handlers.job_api.api.clip_responses import RequestedClip, send_clip
from handlers.job_api.api.context import Context
from handlers.job_api.api.counted_streams import CheckedStream
from handlers.job_api.api.live_audio import open_live_audio
from handlers.job_api.api.openapi.headers import refer_headers
from handlers.job_api.api.openapi.media import (
    AUDIO,
    CLIP,
    CLIP_PART,
    REDIRECT,
    UNCHANGED,
    type_reply,
)
from handlers.job_api.api.routes_jobs import IDEMPOTENCY_KEY_MAX, CurrentCaller, submit_body
from handlers.job_api.api.schemas import ErrorReply, MusicReply
from handlers.job_api.api.sound_apis import GENERATE, MUSIC, SOUND_GENERATION, SPEECH
from handlers.job_api.api.sound_elevenlabs import COMPOSE, STREAM
from handlers.job_api.api.sound_errors import JOB_HEADER, translate_error
from handlers.job_api.api.sound_shapes import SoundCall, SoundShape
from handlers.job_api.api.waiting import AwaitedJob
from handlers.job_api.errors import ApiError, NotFound
from handlers.job_api.store import jobs
from handlers.job_api.store.api_keys import ApiCaller
from handlers.job_api.store.files import count_clips
from handlers.job_api.store.models import find_licence
from handlers.job_api.store.status import audio_url
from musicgen.audio.encode import content_type
from musicgen.errors import InvalidRequest
from musicgen.process.tracing import note, span, traceparent
from musicgen.request.limits import SEED_MAX

SOUND_HEADERS = (JOB_HEADER, "X-Model", "X-Licence", "X-Seed")
_STATUSES = (400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 507)
_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorReply} for status in _STATUSES}
_EXPECTED = (InvalidRequest, ApiError, ClientDisconnect)
_HEADERS = refer_headers(*SOUND_HEADERS)
_SOUND = {
    **CLIP,
    "content": AUDIO,
    "description": "The sound",
    "headers": {**CLIP["headers"], **_HEADERS},
}
_PART = {**CLIP_PART, "headers": {**CLIP_PART["headers"], **_HEADERS}}

router = APIRouter(tags=["sound"])
IdempotencyKey = Annotated[str | None, Header(max_length=IDEMPOTENCY_KEY_MAX)]
NamedFormat = Annotated[str | None, Query(max_length=40)]


def _document(shape: SoundShape, answer: dict[str, Any] = _SOUND) -> dict[str, Any]:
    """Return the arguments that describe a route of a shape in the OpenAPI document."""
    content = {"application/json": {"schema": shape.build_schema()}}
    return {
        "response_class": Response,
        "responses": {
            **_ERRORS,
            200: answer,
            206: _PART,
            304: {**UNCHANGED, "headers": {**UNCHANGED["headers"], **_HEADERS}},
            307: {**REDIRECT, "headers": {**REDIRECT["headers"], **_HEADERS}},
            416: {"model": ErrorReply},
        },
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


@router.post("/audio/speech", **_document(SPEECH))
async def create_speech(
    request: Request, caller: CurrentCaller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make music and answer it, as OpenAI's clients ask for speech.

    `input` describes the music, and `voice` is ignored. `extra_body` may hold the fields of
    `POST /v1/generate`, such as `duration`. The default format is mp3.
    """
    return await _answer(request, caller, idempotency_key, SPEECH)


@router.post("/audio/generate", **_document(GENERATE))
async def generate_audio(
    request: Request, caller: CurrentCaller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make music and answer it, as vLLM-Omni does."""
    return await _answer(request, caller, idempotency_key, GENERATE)


@router.post("/audio/music", include_in_schema=False)
@router.post(
    "/audio/music/generations",
    **_document(MUSIC, {**_SOUND, "model": MusicReply}),
)
async def generate_music(
    request: Request, caller: CurrentCaller, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make music and answer JSON with the addresses of its clips, as ezlocalai does.

    With a file format as `response_format` the answer is the sound itself.
    """
    return await _answer(request, caller, idempotency_key, MUSIC)


@router.post("/sound-generation", **_document(SOUND_GENERATION))
async def generate_sound(
    request: Request,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
    output_format: NamedFormat = None,
) -> Response:
    """Make music and answer it, as LocalAI and ElevenLabs do. The default format is wav."""
    return await _answer(request, caller, idempotency_key, SOUND_GENERATION, output_format)


@router.post("/music", **_document(COMPOSE))
async def compose_music(
    request: Request,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
    output_format: NamedFormat = None,
) -> Response:
    """Make music and answer it, as ElevenLabs does. The default format is mp3_44100_128."""
    return await _answer(request, caller, idempotency_key, COMPOSE, output_format)


@router.post("/music/stream", **_document(STREAM))
async def stream_music(
    request: Request,
    caller: CurrentCaller,
    idempotency_key: IdempotencyKey = None,
    output_format: NamedFormat = None,
) -> Response:
    """Make music and send it as it is made, as ElevenLabs does."""
    return await _answer(request, caller, idempotency_key, STREAM, output_format)


async def _answer(
    request: Request,
    caller: ApiCaller,
    key: str | None,
    shape: SoundShape,
    output_format: str | None = None,
) -> Response:
    """Submit the job of a call, wait for it and answer its sound.

    `output_format`: of the query, before that of the body.
    """
    beside = {} if output_format is None else {"output_format": output_format}
    context: Context = request.app.state.context
    client = find_client(request, caller)
    with context.streams.hold(client):
        job, call = await _submit(request, caller, key, shape, beside)
        with job.leave_on_error():
            await job.wait(request, for_audio=call.is_streamed)
            opened = await _open_stream(context, job) if call.is_streamed else None
            if opened is None:
                await job.wait(request)
                return await _send_whole(request, job, call)
            row, blocks = opened
            headers = {"Cache-Control": "no-store", **await _describe(context, row)}
    media_type = content_type(row["request"].get("output_format", "wav"))
    body = job.follow_to_end(blocks)
    live = _JobStream(job, context.streams, client, body, media_type=media_type, headers=headers)
    return type_reply(request, live)


async def _submit(
    request: Request, caller: ApiCaller, key: str | None, shape: SoundShape, beside: dict[str, Any]
) -> tuple[AwaitedJob, SoundCall]:
    """Submit the job of a call. Raises: `ApiError` in the words of the other API."""
    context: Context = request.app.state.context
    call = SoundCall({})

    def translate(body: dict[str, Any]) -> dict[str, Any]:
        nonlocal call
        call = shape.translate({**body, **beside})
        return call.fields

    parent = request.headers.get("traceparent")
    # The headers of a stream have the seed, so it is chosen before the music is made.
    defaults = {"seed": secrets.randbelow(SEED_MAX + 1)}
    try:
        with span(f"POST {request.url.path}", parent, "server", expected=_EXPECTED):
            trace = traceparent() or parent
            job_id = await submit_body(request, caller, key, trace, translate, defaults)
            note(job_id=job_id)
    except InvalidRequest as error:
        raise translate_error(error, shape.names) from None
    return AwaitedJob(context, caller.owner, job_id, is_kept=key is not None), call


async def _open_stream(
    context: Context, job: AwaitedJob
) -> tuple[dict[str, Any], AsyncIterator[bytes]] | None:
    """Return the row of a job and its live audio, or None if there is none any more."""
    row = await jobs.get(context.pool, job.id)
    listening = None if row is None else open_live_audio(context, row, 1)
    return None if row is None or listening is None else (row, listening)


async def _send_whole(request: Request, job: AwaitedJob, call: SoundCall) -> Response:
    """Return the answer with the sound of a completed job, or with the addresses of its clips."""
    context: Context = request.app.state.context
    row = await jobs.get(context.pool, job.id)
    if row is None:
        raise NotFound("The job has been deleted.")
    extension = row["request"].get("output_format", "wav")
    headers = await _describe(context, row)
    if call.answers_links:
        return JSONResponse(_list_clips(request, row, extension), headers=headers)
    response = await send_clip(request, context.files, RequestedClip(row, 1, extension))
    response.headers.update(headers)
    return type_reply(request, response)


class _JobStream(CheckedStream):
    """Live audio of a job; the job is left when the answer ends early."""

    def __init__(self, job: AwaitedJob, *args: Any, **details: Any) -> None:
        self._job = job
        super().__init__(*args, **details)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._job.leave()


async def _describe(context: Context, row: dict[str, Any]) -> dict[str, str]:
    """Return the headers about a job: its id, model, licence and first seed."""
    result = row["result"] or {}
    model = str(result.get("model") or row["request"].get("model_version", ""))
    licence = result.get("licence") or await find_licence(context.pool, model)
    seed = result.get("seed", row["request"].get("seed"))
    values = (row["id"], model, licence, "" if seed is None else str(seed))
    return {
        name: text
        for name, value in zip(SOUND_HEADERS, values, strict=True)
        if (text := _clean(str(value)))
    }


def _clean(text: str) -> str:
    """Return a text as the value of a header."""
    return "".join(c for c in text if c.isascii() and c.isprintable())[:200].strip()


def _list_clips(request: Request, row: dict[str, Any], extension: str) -> dict[str, Any]:
    """Return the JSON of `POST /v1/audio/music/generations`."""
    result = row["result"] or {}
    clips = result.get("clips", [])
    return {
        "created": int(time.time()),
        "model": result.get("model"),
        "licence": result.get("licence"),
        "job_id": row["id"],
        "data": [
            {
                "url": str(request.base_url)[:-1] + audio_url(row["id"], number + 1, extension),
                "content_type": content_type(extension),
                "format": extension,
                "duration": clips[number].get("seconds"),
                "seed": clips[number].get("seed"),
                "caption": clips[number].get("prompt"),
            }
            for number in range(count_clips(row["request"]))
        ],
    }
