"""Jobs: submit, watch, list, cancel."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import math
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse

from handlers.job_api.api.accept import Accepted, accept
from handlers.job_api.api.auth import caller, require
from handlers.job_api.api.context import Context
from handlers.job_api.api.request_schema import build_request_schema
from handlers.job_api.api.schemas import ErrorReply, Jobs, State, Status, Submitted
from handlers.job_api.errors import NoRoom, NotFound, Refusal
from handlers.job_api.store import jobs, queue
from handlers.job_api.store.api_keys import Caller
from handlers.job_api.store.models import models_of
from handlers.job_api.store.status import shown
from musicgen.errors import InvalidRequest
from musicgen.net.post import check
from musicgen.process.tracing import note, span, traceparent
from musicgen.remote.policy import goes_elsewhere_first

KEEP_ALIVE_SECONDS = 15.0
IDEMPOTENCY_KEY_MAX = 200
_EVENTS_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 422, 429, 503)
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {**_ERRORS, 404: {"model": ErrorReply}}

router = APIRouter(tags=["jobs"])
Who = Annotated[Caller, Depends(caller)]


@router.post(
    "/generate",
    status_code=202,
    response_model=Submitted,
    responses={
        **_ERRORS,
        400: {"model": ErrorReply},
        408: {"model": ErrorReply},
        409: {"model": ErrorReply},
        413: {"model": ErrorReply},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": build_request_schema()}},
        }
    },
)
async def generate(
    request: Request,
    who: Who,
    idempotency_key: Annotated[str | None, Header(max_length=IDEMPOTENCY_KEY_MAX)] = None,
) -> JSONResponse:
    """Puts a job into the queue. The same call again with the same Idempotency-Key is the same
    job, so that a call whose answer was lost may be sent again."""
    caller_s = request.headers.get("traceparent")
    with span("POST /generate", caller_s, "server", expected=(InvalidRequest, Refusal)):
        job_id = await _submitted(request, who, idempotency_key, traceparent() or caller_s)
        note(job_id=job_id)
    return JSONResponse(
        {"job_id": job_id, "status": "queued"}, 202, headers={"Location": f"/status/{job_id}"}
    )


async def _submitted(
    request: Request, who: Caller, idempotency_key: str | None, trace: str | None
) -> str:
    """The id of the job of this call."""
    context: Context = request.app.state.context
    require(who, "generate")
    body = await json_body(request)
    known = await models_of(context.pool, context.default_model)
    accepting = partial(accept, body, known, who.owner, context.files)
    accepted = await asyncio.to_thread(accepting)
    if accepted.priority > 0:
        require(who, "priority")
    if accepted.webhook_url is not None:
        await _check_webhook(accepted.webhook_url, context.settings.webhook_networks)
    new = jobs.NewJob(
        owner=who.owner,
        request={"model_version": known.default, **accepted.request},
        request_hash=accepted.hash,
        audio_seconds=accepted.audio_seconds,
        priority=accepted.priority,
        idempotency_key=idempotency_key,
        webhook_url=accepted.webhook_url,
        trace=trace,
    )
    limits = jobs.Limits(context.settings.queue_max, context.settings.jobs_per_key)
    to = await _queue_for(context, accepted)
    try:
        job_id = await jobs.submit(context.pool, context.app, new, limits, to)
    except NoRoom as full:
        load = await context.meter.load()
        raise full.told(load.next_end_seconds, load.wait_seconds) from None
    context.metrics.submitted.inc()
    return job_id


@router.get("/status/{job_id}", response_model=Status, responses=_NOT_FOUND)
async def status(request: Request, who: Who, job_id: str) -> JSONResponse:
    """Where a job is, and when it has ended what became of it."""
    return JSONResponse(await _status(request.app.state.context, who, job_id))


@router.get(
    "/jobs/{job_id}/events",
    responses={**_NOT_FOUND, 200: {"content": {"text/event-stream": {}}}},
    response_class=StreamingResponse,
)
async def events(request: Request, who: Who, job_id: str) -> StreamingResponse:
    """Server-sent events: the status of a job whenever it changes, until it has ended."""
    context: Context = request.app.state.context
    first = await _status(context, who, job_id)
    return StreamingResponse(
        _told(context, who, job_id, first), media_type="text/event-stream", headers=_EVENTS_HEADERS
    )


@router.delete("/jobs/{job_id}", response_model=Status, responses=_NOT_FOUND)
async def cancel(request: Request, who: Who, job_id: str) -> JSONResponse:
    """Cancels a job that waits or runs. One that has ended stays as it is."""
    context: Context = request.app.state.context
    require(who, "generate")
    await jobs.cancel(context.pool, who.owner, job_id)
    return JSONResponse(await _status(context, who, job_id))


@router.get("/jobs", response_model=Jobs, responses=_ERRORS)
async def listed(
    request: Request,
    who: Who,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str | None, Query(max_length=200)] = None,
    status: State | None = None,
) -> JSONResponse:
    """The caller's jobs, the newest first."""
    context: Context = request.app.state.context
    after = None if before is None else _cursor(before)
    rows = await jobs.listed(context.pool, who.owner, limit + 1, after, status)
    more = len(rows) > limit
    return JSONResponse(
        {
            "jobs": [shown(row) for row in rows[:limit]],
            "next": _to_cursor(rows[limit - 1]) if more else None,
        }
    )


async def json_body(request: Request) -> dict[str, Any]:
    """Raises: `InvalidRequest` for what is no object."""
    try:
        body = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise InvalidRequest("body", "", 'JSON, such as {"prompt": "calm piano"}') from None
    if not isinstance(body, dict):
        raise InvalidRequest("body", type(body).__name__, "an object with the fields of a request")
    return body


async def _check_webhook(url: str, networks: tuple[str, ...]) -> None:
    """Looked at again when it is sent: a name may mean another address by then."""
    try:
        await check(url, networks)
    except InvalidRequest as error:
        raise InvalidRequest("webhook_url", error.problem, value=url) from None


async def _queue_for(context: Context, accepted: Accepted) -> str:
    """Elsewhere, where it would have to wait too long here."""
    if context.overflow_seconds is None:
        return context.queue_for_new
    wait = (await context.meter.load()).wait_seconds
    expected = math.inf if wait is None else wait  # nobody works here
    late = goes_elsewhere_first("overflow", expected, context.overflow_seconds)
    return queue.REMOTE if late else queue.LOCAL


async def _status(context: Context, who: Caller, job_id: str) -> dict[str, Any]:
    row = await jobs.get(context.pool, job_id, who.owner)
    if row is None:
        raise NotFound("there is no such job, or it is not kept any more")
    load = await context.meter.load() if row["state"] in ("queued", "running") else None
    return shown(row, load)


async def _told(
    context: Context, who: Caller, job_id: str, first: dict[str, Any]
) -> AsyncIterator[str]:
    last = None
    with context.news.of(job_id) as changed:
        now = first
        while not context.draining:
            if now != last:
                last = now
                yield f"event: status\ndata: {json.dumps(now)}\n\n"
            if now["status"] in jobs.FINAL:
                return
            try:
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_SECONDS)
            except asyncio.TimeoutError:
                # Also where nothing was heard: the news may have been lost.
                yield ": still here\n\n"
            changed.clear()
            try:
                now = await _status(context, who, job_id)
            except NotFound:
                return


def _to_cursor(row: dict[str, Any]) -> str:
    text = f"{row['created_at'].isoformat()} {row['id']}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _cursor(text: str) -> tuple[str, str]:
    try:
        created, job_id = base64.urlsafe_b64decode(text).decode().split(" ")
        datetime.fromisoformat(created)
        if not jobs.JOB_ID.fullmatch(job_id):
            raise ValueError(job_id)
    except (ValueError, binascii.Error, UnicodeError):
        raise InvalidRequest("before", text, "the `next` of an earlier page") from None
    return created, job_id
