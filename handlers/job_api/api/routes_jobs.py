"""Routes of jobs: submit, follow, list and cancel; `routes_history` keeps and deletes them."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

from handlers.input_audio import is_web_address
from handlers.job_api.api.accept import accept
from handlers.job_api.api.auth import authenticate, find_client, require_scope
from handlers.job_api.api.context import Context
from handlers.job_api.api.counted_streams import CountedStream
from handlers.job_api.api.cursors import decode_cursor, encode_cursor
from handlers.job_api.api.openapi.headers import refer_headers
from handlers.job_api.api.openapi.media import EVENTS
from handlers.job_api.api.request_schema import build_request_schema
from handlers.job_api.api.schemas import ErrorReply, Jobs, State, Status, Submitted
from handlers.job_api.errors import ApiError, CapacityExceeded, NotFound
from handlers.job_api.store import history, jobs, queue
from handlers.job_api.store.abilities import check_needs
from handlers.job_api.store.api_keys import ApiCaller
from handlers.job_api.store.models import find_available_models
from handlers.job_api.store.needs import list_needs
from handlers.job_api.store.status import build_status
from handlers.job_api.store.upload_files import UPLOAD
from musicgen.errors import InvalidRequest
from musicgen.net.post import check
from musicgen.process.tracing import note, span, traceparent
from musicgen.remote.policy import goes_elsewhere_first

KEEP_ALIVE_SECONDS = 15.0
IDEMPOTENCY_KEY_MAX = 200
SEARCH_MAX_CHARACTERS = 200
_EVENTS_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 422, 429, 503)
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {**_ERRORS, 404: {"model": ErrorReply}}
_EXPECTED = (InvalidRequest, ApiError, ClientDisconnect)

router = APIRouter(tags=["jobs"])
CurrentCaller = Annotated[ApiCaller, Depends(authenticate)]


@router.post(
    "/generate",
    status_code=202,
    response_model=Submitted,
    responses={
        **_ERRORS,
        202: {"headers": refer_headers("Location")},
        **{status: {"model": ErrorReply} for status in (400, 408, 409, 413, 502, 507)},
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
    caller: CurrentCaller,
    idempotency_key: Annotated[str | None, Header(max_length=IDEMPOTENCY_KEY_MAX)] = None,
) -> JSONResponse:
    """Submit a job.

    A repeated call with the same Idempotency-Key returns the same job, so a call without a response
    can safely be sent again.
    """
    parent = request.headers.get("traceparent")
    with span("POST /generate", parent, "server", expected=_EXPECTED):
        job_id = await submit_body(request, caller, idempotency_key, traceparent() or parent)
        note(job_id=job_id)
    return JSONResponse(
        {"job_id": job_id, "status": "queued"}, 202, headers={"Location": f"/status/{job_id}"}
    )


async def submit_body(
    request: Request,
    caller: ApiCaller,
    idempotency_key: str | None,
    trace: str | None,
    translate: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body,
    defaults: Mapping[str, Any] | None = None,
) -> str:
    """Validate the body, submit its job and return the job's id.

    `translate`: returns the fields of a job for the body of another API. `defaults`: fields of the
    request for a new job without them.
    """
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    available = await find_available_models(context.pool, context.default_model)
    async with context.bodies.read(request, find_client(request, caller)) as body:
        accepted = await asyncio.to_thread(
            partial(accept, translate(body), available, caller.owner, context.files)
        )
        if accepted.priority > 0:
            require_scope(caller, "priority")
        repeated = await jobs.find_repeated(
            context.pool, caller.owner, idempotency_key, accepted.hash
        )
        if repeated is not None:
            return repeated
        check_needs(list_needs({"model_version": available.default, **accepted.request}), available)
        sound = None
        if accepted.sound is not None:
            sound = await context.uploads.store_bytes(caller.owner, accepted.sound)
            accepted = replace(
                accepted, sound=None, request={**accepted.request, "input_audio": UPLOAD + sound}
            )
    new = jobs.NewJob(
        owner=caller.owner,
        request={"model_version": available.default, **(defaults or {}), **accepted.request},
        request_hash=accepted.hash,
        audio_seconds=accepted.audio_seconds,
        priority=accepted.priority,
        idempotency_key=idempotency_key,
        webhook_url=accepted.webhook_url,
        trace=trace,
        fetches=is_web_address(accepted.request.get("input_audio")),
    )
    job_id = None
    try:
        job_id = await _enqueue(context, new)
    finally:
        if sound is not None and job_id != new.id:
            await context.uploads.discard(sound)
    return job_id


async def _enqueue(context: Context, new: jobs.NewJob) -> str:
    """Queue a job, and return its id or that of an earlier one with its idempotency key."""
    if new.webhook_url is not None:
        await _check_webhook(new.webhook_url, context.settings.webhook_networks)
    limits = jobs.JobLimits(context.settings.queue_max, context.settings.jobs_per_key)
    to = await _choose_queue(context, new)
    try:
        job_id = await jobs.submit(context.pool, context.app, new, limits, to)
    except CapacityExceeded as full:
        load = await context.meter.read()
        wait = await context.estimate_wait(new.owner, (), new.priority)
        raise full.with_estimates(load.next_end_seconds, wait) from None
    context.metrics.submitted.inc()
    return job_id


@router.get("/status/{job_id}", response_model=Status, responses=_NOT_FOUND)
async def get_status(request: Request, caller: CurrentCaller, job_id: str) -> JSONResponse:
    """Return the status of a job, with its result or error once it has finished."""
    return JSONResponse(await read_own_status(request.app.state.context, caller, job_id))


@router.get(
    "/jobs/{job_id}/events",
    responses={**_NOT_FOUND, 200: EVENTS},
    response_class=StreamingResponse,
)
async def stream_events(request: Request, caller: CurrentCaller, job_id: str) -> StreamingResponse:
    """Stream the status of a job as server-sent events at each change, until it has finished."""
    context: Context = request.app.state.context
    await read_own_status(context, caller, job_id)
    # A stream for HEAD would last as long as the job, for nobody.
    is_head = request.method == "HEAD"
    return CountedStream(
        context.streams,
        find_client(request, caller),
        () if is_head else _stream_status(context, job_id),
        media_type="text/event-stream",
        headers=_EVENTS_HEADERS,
    )


@router.post("/jobs/{job_id}/cancel", response_model=Status, responses=_NOT_FOUND)
async def cancel_job(request: Request, caller: CurrentCaller, job_id: str) -> JSONResponse:
    """Cancel a queued or running job. A finished job stays as it is."""
    context: Context = request.app.state.context
    require_scope(caller, "generate")
    await jobs.cancel(context.pool, caller.owner, job_id)
    return JSONResponse(await read_own_status(context, caller, job_id))


@router.get("/jobs", response_model=Jobs, responses=_ERRORS)
async def list_jobs(
    request: Request,
    caller: CurrentCaller,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    before: Annotated[str | None, Query(max_length=200)] = None,
    status: State | None = None,
    favourite: bool | None = None,
    search: Annotated[str, Query(max_length=SEARCH_MAX_CHARACTERS)] = "",
) -> JSONResponse:
    """List the caller's jobs, newest first.

    `search`: words, each the beginning of a word in the job's name or prompts.
    """
    context: Context = request.app.state.context
    last = None if before is None else decode_cursor(before)
    chosen = history.JobFilter(status, favourite, search)
    rows = await history.list_jobs(context.pool, caller.owner, limit + 1, last, chosen)
    return JSONResponse(
        {
            "jobs": [build_status(row) for row in rows[:limit]],
            "next": encode_cursor(rows[limit - 1]) if len(rows) > limit else None,
        }
    )


async def _check_webhook(url: str, networks: tuple[str, ...]) -> None:
    """Check the address of a webhook; delivery checks it again, because DNS can change.

    Raises: `InvalidRequest`.
    """
    try:
        await check(url, networks)
    except InvalidRequest as error:
        raise InvalidRequest("webhook_url", error.problem, value=url) from None


async def _choose_queue(context: Context, new: jobs.NewJob) -> str:
    """Return the queue for a new job: the remote one if the wait here is too long."""
    if context.overflow_seconds is None:
        return context.queue_for_new
    wait = await context.estimate_wait(new.owner, (), new.priority)
    expected = math.inf if wait is None else wait  # None: no local worker
    is_overflow = goes_elsewhere_first("overflow", expected, context.overflow_seconds)
    return queue.REMOTE if is_overflow else queue.LOCAL


async def read_own_status(context: Context, caller: ApiCaller, job_id: str) -> dict[str, Any]:
    """Return the status of a job of the caller. Raises: `NotFound`."""
    status = await context.read_status(job_id, caller.owner)
    if status is None:
        raise NotFound("No such job, or it has been deleted.")
    return status


async def _stream_status(context: Context, job_id: str) -> AsyncIterator[str]:
    """Yield an event for each change of a job's status, with comments as keep-alive."""
    sent = None
    async with context.feeds.follow(job_id) as (feed, changed):
        while not context.draining:
            # Before the status is read: it may change while an event is sent.
            changed.clear()
            if feed.current is not None and feed.current != sent:
                sent = feed.current
                yield f"event: status\ndata: {json.dumps(sent)}\n\n"
                if sent["status"] in jobs.FINAL:
                    return
            if feed.is_over:
                return
            try:
                await asyncio.wait_for(changed.wait(), KEEP_ALIVE_SECONDS)
            except TimeoutError:
                yield ": keep-alive\n\n"
