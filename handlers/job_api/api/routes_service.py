"""Routes of the service: models, sign-in of the web page, health, metrics, and the page itself."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from handlers.job_api.api.auth import (
    COOKIE,
    count_open_call,
    find_caller,
    identify_caller,
    is_operator,
    require_scope,
)
from handlers.job_api.api.context import Context
from handlers.job_api.api.form_fields import build_form_module
from handlers.job_api.api.metrics import TYPE
from handlers.job_api.api.openapi.headers import refer_headers
from handlers.job_api.api.page_reply import PageReply, build_page_text
from handlers.job_api.api.routes_jobs import CurrentCaller
from handlers.job_api.api.schemas import ErrorReply, Loading, ModelReply, Models, Session, SignIn
from handlers.job_api.errors import NotFound, WrongKey
from handlers.job_api.store.models import (
    AvailableModels,
    describe_models,
    find_available_models,
    request_model,
)
from musicgen import __version__, catalog

WEB = Path(__file__).parents[1] / "web"
DATABASE_SECONDS = 2.0
READY_SECONDS = 300.0
"""Time without the database until a process is not ready; a managed failover takes two minutes."""
COOKIE_SECONDS = 30 * 24 * 3600
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply} for status in (401, 403, 422, 429, 503)
}

logger = logging.getLogger(__name__)
router = APIRouter(tags=["service"])
versioned = APIRouter(tags=["models"])


@versioned.get("/models", response_model=Models, responses=_ERRORS)
async def list_models(request: Request, caller: CurrentCaller) -> JSONResponse:
    """List the models for `model_version`, with their licences."""
    context: Context = request.app.state.context
    available = await find_available_models(context.pool, context.default_model)
    listed = {"object": "list", "default": available.default, "data": describe_models(available)}
    return JSONResponse(listed)


@versioned.get(
    "/models/{name:path}",
    response_model=ModelReply,
    responses={**_ERRORS, 404: {"model": ErrorReply}},
)
async def get_model(request: Request, caller: CurrentCaller, name: str) -> JSONResponse:
    """Describe one model, by any of its names."""
    context: Context = request.app.state.context
    available = await find_available_models(context.pool, context.default_model)
    found = _find_model(available, name)
    return JSONResponse(next(each for each in describe_models(available) if each["id"] == found))


@versioned.post(
    "/models/{name:path}/load",
    status_code=202,
    response_model=Loading,
    responses={**_ERRORS, 404: {"model": ErrorReply}},
)
async def load_model(request: Request, caller: CurrentCaller, name: str) -> JSONResponse:
    """Load a model in the workers, beside their running jobs.

    Once a worker has loaded it, it is the default model of requests.
    """
    context: Context = request.app.state.context
    require_scope(caller, "models")
    available = await find_available_models(context.pool, context.default_model)
    model = _find_model(available, name)
    await request_model(context.pool, model, available.default)
    is_loaded = model in available.loaded
    return JSONResponse({"model": model, "status": "loaded" if is_loaded else "loading"}, 202)


def _find_model(available: AvailableModels, name: str) -> str:
    """Return the id of a model called `name`. Raises: `NotFound`."""
    entry = catalog.find(name)
    model = entry.name if entry else name
    if model not in available.names:
        raise NotFound(f"No model is called {name[:60]!r}. GET /v1/models lists the models.")
    return model


@router.get("/session", response_model=Session, responses={429: {"model": ErrorReply}})
async def get_session(request: Request) -> JSONResponse:
    """Return whether this server needs API keys, and the name of the caller's key."""
    context: Context = request.app.state.context
    caller = await identify_caller(request)
    if caller is None or not context.needs_keys:
        count_open_call(request)
    return JSONResponse(
        {
            "auth": context.needs_keys,
            "signed_in": caller is not None,
            "name": caller.name if caller else None,
            "version": __version__,
        }
    )


@router.post(
    "/session",
    status_code=204,
    response_class=Response,
    responses={
        **{status: {"model": ErrorReply} for status in (400, 401, 403, 408, 413, 422, 429)},
        204: {"headers": refer_headers("Set-Cookie")},
    },
)
async def sign_in(request: Request, body: SignIn) -> Response:
    """Sign the web page in: store an API key in a cookie for this server only."""
    context: Context = request.app.state.context
    count_open_call(request)
    if not context.needs_keys:
        return Response(status_code=204)
    if await find_caller(request, body.key) is None:
        raise WrongKey
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
    responses={403: {"model": ErrorReply}, 204: {"headers": refer_headers("Set-Cookie")}},
)
async def sign_out() -> Response:
    """Sign the web page out: delete its cookie."""
    response = Response(status_code=204)
    response.delete_cookie(COOKIE)
    return response


@router.get("/healthz", include_in_schema=False)
async def healthz() -> JSONResponse:
    """Answer while the process lives; it checks nothing a restart could not mend."""
    return JSONResponse({"status": "ok", "version": __version__})


@router.get("/readyz", include_in_schema=False)
async def readyz(request: Request) -> JSONResponse:
    """Return 200 if calls may be sent here, also without a worker: jobs wait for one.

    A lost database alone keeps the process ready for `READY_SECONDS`: all API processes lose it at
    once, and calls wait for it here or get a documented 503. Strangers get the status alone.
    """
    context: Context = request.app.state.context
    if context.draining:
        return JSONResponse({"status": "stopping"}, 503)
    try:
        load = await asyncio.wait_for(context.meter.read(), DATABASE_SECONDS)
    except Exception as error:
        status = 200 if context.meter.silence_seconds < READY_SECONDS else 503
        logger.warning("The database did not answer a probe (%s).", type(error).__name__)
        return JSONResponse({"status": "no database"}, status)
    figures = {"workers": load.workers, "jobs_waiting": load.queued}
    return JSONResponse({"status": "ok", **(figures if await is_operator(request) else {})})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus to this machine, if the server has no keys."""
    context: Context = request.app.state.context
    if context.needs_keys or not await is_operator(request):
        raise NotFound("The metrics are on a port of their own, MUSICGEN_METRICS_PORT.")
    return Response(await context.render_metrics(), media_type=TYPE)


@router.get("/static/js/request_fields.js", include_in_schema=False)
async def form_fields(request: Request) -> Response:
    """Return the request's fields for the page's form."""
    return build_page_text(request, build_form_module(), "text/javascript")


@router.get("/docs", include_in_schema=False)
async def docs() -> PageReply:
    """Return the API reference, which needs nothing from other servers."""
    return PageReply(WEB / "docs.html")


@router.get("/", include_in_schema=False)
async def page() -> PageReply:
    """Return the web page."""
    return PageReply(WEB / "index.html")
