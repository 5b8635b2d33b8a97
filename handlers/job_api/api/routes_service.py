"""What is not a job: models, a cookie for the page, health, metrics, and the page itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from handlers.job_api.api.auth import COOKIE, found_caller, require
from handlers.job_api.api.context import Context
from handlers.job_api.api.form_fields import build_form_module
from handlers.job_api.api.metrics import TYPE
from handlers.job_api.api.routes_jobs import Who
from handlers.job_api.api.schemas import ErrorReply, Loading, Models, Session, SignIn
from handlers.job_api.errors import KeyNeeded, NotFound, TooManyCalls
from handlers.job_api.store.api_keys import caller_of
from handlers.job_api.store.models import models_of, replies, want
from musicgen import __version__, catalog

WEB = Path(__file__).parents[1] / "web"
DATABASE_SECONDS = 2.0
COOKIE_SECONDS = 30 * 24 * 3600
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 422, 429, 503)
}

router = APIRouter(tags=["service"])


@router.get("/models", response_model=Models, responses=_ERRORS)
async def models(request: Request, who: Who) -> JSONResponse:
    """What may be asked for by `model_version`, and under which licence."""
    context: Context = request.app.state.context
    known = await models_of(context.pool, context.default_model)
    return JSONResponse({"default": known.default, "models": replies(known)})


@router.post(
    "/models/{name:path}/load",
    status_code=202,
    response_model=Loading,
    responses={**_ERRORS, 404: {"model": ErrorReply}},
)
async def load(request: Request, who: Who, name: str) -> JSONResponse:
    """Has the workers load a model while they go on with their jobs. When one has, requests that
    name no model are for it."""
    context: Context = request.app.state.context
    require(who, "models")
    known = await models_of(context.pool, context.default_model)
    entry = catalog.find(name)
    model = entry.name if entry else name
    if model not in known.names:
        raise NotFound(f"no model is called {name[:60]!r}: see GET /models")
    await want(context.pool, model, known.default)
    done = model in known.loaded
    return JSONResponse({"model": model, "status": "loaded" if done else "loading"}, 202)


@router.get("/session", response_model=Session, responses={429: {"model": ErrorReply}})
async def session(request: Request) -> JSONResponse:
    """Whether keys are needed here, and whose this caller has."""
    context: Context = request.app.state.context
    who = await found_caller(request)
    return JSONResponse(
        {
            "auth": context.needs_keys,
            "signed_in": who is not None,
            "name": who.name if who else None,
            "version": __version__,
        }
    )


@router.post(
    "/session",
    status_code=204,
    response_class=Response,
    responses={status: {"model": ErrorReply} for status in (400, 401, 403, 408, 413, 422, 429)},
)
async def sign_in(request: Request, body: SignIn) -> Response:
    """Keeps a key in a cookie that only this server reads, for the page."""
    context: Context = request.app.state.context
    address = request.client.host if request.client else "unknown"
    if not context.needs_keys:
        return Response(status_code=204)
    if await caller_of(context.pool, body.key.strip()) is None:
        if (wait := context.wrong_keys.wait(address)) is not None:
            raise TooManyCalls("too many wrong keys from this address", wait)
        raise KeyNeeded("this key is not known here, or not valid any more")
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        body.key.strip(),
        max_age=COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete(
    "/session",
    status_code=204,
    response_class=Response,
    responses={403: {"model": ErrorReply}},
)
async def sign_out() -> Response:
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


@router.get("/healthz", include_in_schema=False)
async def healthz() -> JSONResponse:
    """The process answers: restarting it would help nothing else."""
    return JSONResponse({"status": "ok", "version": __version__})


@router.get("/readyz", include_in_schema=False)
async def readyz(request: Request) -> JSONResponse:
    """Whether calls may be sent here. Without a worker they may: jobs wait for one."""
    context: Context = request.app.state.context
    try:
        load = await asyncio.wait_for(context.meter.load(), DATABASE_SECONDS)
    except Exception as error:
        return JSONResponse({"status": "no database", "why": type(error).__name__}, 503)
    if context.draining:
        return JSONResponse({"status": "stopping"}, 503)
    return JSONResponse({"status": "ok", "workers": load.workers, "jobs_waiting": load.queued})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    context: Context = request.app.state.context
    load = await context.meter.load()
    return Response(await context.metrics.exposition(context.pool, load), media_type=TYPE)


@router.get("/static/js/request_fields.js", include_in_schema=False)
async def form_fields() -> Response:
    """Return the request's fields for the page's form."""
    headers = {"Cache-Control": "no-cache"}
    return Response(build_form_module(), media_type="text/javascript", headers=headers)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(WEB / "index.html", headers={"Cache-Control": "no-cache"})
