"""The HTTP application: routes, errors as JSON, limits and headers. Imports no torch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from handlers.contract import describe_error
from handlers.job_api.api import routes_audio, routes_jobs, routes_service
from handlers.job_api.api.context import WRONG_KEYS, Context, Rate
from handlers.job_api.api.metrics import ApiMetrics
from handlers.job_api.api.middleware import body_limit
from handlers.job_api.api.middleware.csrf import SameSite
from handlers.job_api.api.webhooks import deliver_webhooks
from handlers.job_api.errors import Refusal
from handlers.job_api.store import queue
from handlers.job_api.store.database import LOST, connected, create_tables
from handlers.job_api.store.files import Files
from handlers.job_api.store.maintenance import maintain
from handlers.job_api.store.notifications import News
from handlers.job_api.store.status import LoadMeter
from musicgen import __version__
from musicgen.errors import InvalidRequest, MusicGenError
from musicgen.settings.job_api import LOOPBACK, ApiSettings

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_CODES = {404: "not_found", 405: "method_not_allowed", **body_limit.CODES}
_DOCS = ("/docs", "/redoc")
_DESCRIPTION = """Music from text. `POST /generate`, then `GET /status/{job_id}` until it is
completed, then `GET /audio/{job_id}.wav`. Meta's MusicGen weights are CC-BY-NC-4.0: not for
commercial use."""

logger = logging.getLogger(__name__)


def make_app(
    url: str,
    settings: ApiSettings,
    *,
    host: str,
    default_model: str,
    files: Files,
    to: str = queue.LOCAL,
    overflow_seconds: float | None = None,
    orphans_to: str | None = None,
) -> FastAPI:
    """The application of one process, on the database at `url`, listening on `host`.

    `to`: the queue of new jobs, `orphans_to`: that of jobs whose worker is lost. With
    `overflow_seconds` those go elsewhere that would wait longer.
    Raises: `SettingsError` for keys that are turned off where others can call.
    """
    needs_keys = settings.needs_keys(host)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(connected(url))
            await create_tables(pool)
            context = Context(
                pool=pool,
                app=await queue.open_queue(pool),
                files=files,
                settings=settings,
                news=News(url),
                meter=LoadMeter(pool),
                metrics=ApiMetrics(),
                rate=Rate(settings.rate_limit),
                wrong_keys=Rate(WRONG_KEYS),
                needs_keys=needs_keys,
                default_model=default_model,
                queue_for_new=to,
                overflow_seconds=overflow_seconds,
            )
            app.state.context = context
            await stack.enter_async_context(context.news.running())
            webhooks = deliver_webhooks(pool, context.app, settings.webhook_networks)
            count = context.metrics.orphans.inc
            maintenance = maintain(pool, context.app, files, settings, orphans_to, count)
            for work in (maintenance, webhooks):
                stack.push_async_callback(_ended, asyncio.create_task(work))
            stack.callback(_drain, context)
            yield

    app = FastAPI(
        title="MusicGen job API", version=__version__, description=_DESCRIPTION, lifespan=lifespan
    )
    _add_error_handlers(app)
    for each in (routes_service.router, routes_jobs.router, routes_audio.router):
        app.include_router(each)
    if routes_service.WEB.is_dir():
        app.mount("/static", StaticFiles(directory=routes_service.WEB), name="static")
    _add_middleware(app, settings, host)
    return app


def _drain(context: Context) -> None:
    """Streams end, so that a server that stops need not wait for those who only listen."""
    context.draining = True
    context.news.wake_all()


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _add_middleware(app: FastAPI, settings: ApiSettings, host: str) -> None:
    app.add_middleware(body_limit.BodyLimit, seconds=settings.body_seconds)
    app.add_middleware(SameSite, origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=["Location", "Retry-After"],
        )
    if host in LOOPBACK:
        # A page elsewhere whose name is made to mean this machine is not this machine's page.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])

    @app.middleware("http")
    async def measured(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        began = time.perf_counter()
        response = await call_next(request)
        for name, value in SECURITY_HEADERS.items():
            if not request.url.path.startswith(_DOCS) or name != "Content-Security-Policy":
                response.headers.setdefault(name, value)
        context: Context | None = getattr(request.app.state, "context", None)
        if context is not None:
            route = getattr(request.scope.get("route"), "path", "unknown")
            labels = context.metrics.requests.labels(request.method, route, response.status_code)
            labels.observe(time.perf_counter() - began)
        return response


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(_: Request, error: Refusal) -> JSONResponse:
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        more = (
            {} if error.expected_seconds is None else {"expected_seconds": error.expected_seconds}
        )
        return _error(error.status, error.code, str(error), headers=headers, **more)

    @app.exception_handler(MusicGenError)
    async def typed(_: Request, error: MusicGenError) -> JSONResponse:
        report = describe_error(error)
        field = error.field if isinstance(error, InvalidRequest) else None
        return _error(report.status, report.code, report.text, **_named(field))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or None
        text = f"{field or 'the call'}: {first['msg']}"
        return _error(422, "invalid_request", text, **_named(field))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        code = _CODES.get(error.status_code, "refused")
        return _error(error.status_code, code, str(error.detail), headers=dict(error.headers or {}))

    async def away(_: Request, error: Exception) -> JSONResponse:
        logger.error("the database is away", exc_info=error)
        why = "the database does not answer: send the same call again"
        return _error(503, "database_away", why, headers={"Retry-After": "10"})

    for lost in LOST:
        app.add_exception_handler(lost, away)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        logger.error("a call failed unexpectedly", exc_info=error)
        report = describe_error(error)
        return _error(report.status, report.code, report.text)


def _named(field: str | None) -> dict[str, Any]:
    return {} if field is None else {"field": field}


def _error(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status, headers)
