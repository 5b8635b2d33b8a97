"""HTTP application: routes, errors as JSON, middleware and headers. Imports no torch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.routing import APIRoute
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import BaseRoute
from starlette.types import Scope

from handlers.job_api.api import (
    routes_audio,
    routes_estimate,
    routes_history,
    routes_jobs,
    routes_mcp,
    routes_service,
    routes_sound,
    routes_uploads,
)
from handlers.job_api.api.auth import COOKIE
from handlers.job_api.api.context import Context
from handlers.job_api.api.error_replies import (
    add_error_handlers,
    answer_unexpected_error,
    count_refusal,
)
from handlers.job_api.api.mcp_endpoint import McpEndpoint
from handlers.job_api.api.metrics import ApiMetrics
from handlers.job_api.api.middleware import body_limit
from handlers.job_api.api.middleware.call_headers import EXPOSED_HEADERS, CallHeaders
from handlers.job_api.api.middleware.csrf import CsrfProtection
from handlers.job_api.api.middleware.replies import Replies
from handlers.job_api.api.openapi.document import install_document
from handlers.job_api.api.page_reply import PageFiles
from handlers.job_api.api.rate_limits import RateLimiter
from handlers.job_api.api.webhooks import deliver_webhooks
from handlers.job_api.store import queue
from handlers.job_api.store.database import open_pool
from handlers.job_api.store.database_meter import DatabaseMeter
from handlers.job_api.store.deletions import finish_deletions
from handlers.job_api.store.files import JobFiles
from handlers.job_api.store.maintenance import maintain
from handlers.job_api.store.notifications import JobNotifications
from handlers.job_api.store.queue_load import QueueLoadMeter
from handlers.job_api.store.schema import migrate
from musicgen import __version__
from musicgen.process.resources import return_free_memory_regularly
from musicgen.settings.job_api import LOOPBACK, ApiSettings

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
VERSION = "/v1"
SHORT = ("/generate", "/status/{job_id}", "/audio/{name}")
"""Paths that exist without the version too, for good: a job in three calls."""
# Without FastAPI's own pages: they load scripts from other servers. /docs is in `routes_service`.
_ABOUT: dict[str, Any] = {
    "title": "MusicGen job API",
    "version": __version__,
    "docs_url": None,
    "redoc_url": None,
    "generate_unique_id_function": lambda route: route.name,
}


def make_app(
    url: str,
    settings: ApiSettings,
    *,
    host: str,
    default_model: str,
    files: JobFiles,
    to: str = queue.LOCAL,
    overflow_seconds: float | None = None,
    orphans_to: str | None = None,
    spend_limit_usd: float | None = None,
) -> FastAPI:
    """Return the application of one process, on the database at `url`, listening on `host`.

    `to`: the queue of new jobs. `overflow_seconds`: new jobs with a longer wait go to the remote
    queue instead. `orphans_to`: the queue for jobs of lost workers, None for their own.
    `spend_limit_usd`: the monthly cap of remote jobs, for the metrics.

    Raises: `SettingsError` if keys are turned off and other machines can call.
    """
    needs_keys = settings.needs_keys(host)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            pool = await stack.enter_async_context(open_pool(url))
            await migrate(pool)
            meter = QueueLoadMeter(pool)
            context = Context(
                pool=pool,
                app=await queue.open_queue(pool),
                files=files,
                settings=settings,
                notifications=JobNotifications(url),
                meter=meter,
                database_meter=DatabaseMeter(pool, meter),
                metrics=ApiMetrics({"data": settings.data_dir}, spend_limit_usd),
                rate=RateLimiter(settings.rate_limit),
                needs_keys=needs_keys,
                default_model=default_model,
                loop=asyncio.get_running_loop(),
                queue_for_new=to,
                overflow_seconds=overflow_seconds,
            )
            app.state.context = context
            app.state.mcp = McpEndpoint(app)
            stack.push_async_callback(app.state.mcp.close)
            await stack.enter_async_context(context.notifications.run())
            for work in _list_background_work(context, orphans_to):
                stack.push_async_callback(_cancel, asyncio.create_task(work))
            stack.callback(context.drain)
            yield

    app = FastAPI(lifespan=lifespan, **_ABOUT)
    # The server that runs the application knows better.
    app.state.is_stopping = lambda: False
    add_error_handlers(app)
    _add_routes(app)
    _add_middleware(app, settings, host, files.media_origin)
    return app


def _add_routes(app: FastAPI) -> None:
    versioned = (
        *(routes_jobs.router, routes_history.router, routes_audio.router, routes_uploads.router),
        routes_sound.router,
        routes_estimate.router,
        routes_service.versioned,
    )
    short = APIRouter(routes=[route for route in _list_routes(*versioned) if route.path in SHORT])
    for router in versioned:
        app.include_router(router, prefix=VERSION)
        _add_heads(app, router, VERSION)
    app.include_router(short, include_in_schema=False)
    app.include_router(routes_service.router)
    app.include_router(routes_mcp.router)
    _add_heads(app, short)
    _add_heads(app, routes_service.router)
    install_document(app, COOKIE)
    app.mount("/static", PageFiles(directory=routes_service.WEB), name="static")


def _list_routes(*routers: APIRouter) -> list[APIRoute]:
    routes = [route for router in routers for route in router.routes]
    return [route for route in routes if isinstance(route, APIRoute)]


def _add_heads(app: FastAPI, router: APIRouter, prefix: str = "") -> None:
    """Answer HEAD where there is a GET: FastAPI, unlike Starlette, answers 405."""
    for route in _list_routes(router):
        if "GET" in (route.methods or ()):
            path = prefix + route.path
            app.add_api_route(path, route.endpoint, methods=["HEAD"], include_in_schema=False)


def _list_background_work(
    context: Context, orphans_to: str | None
) -> list[Coroutine[Any, Any, None]]:
    pool, app, metrics, settings = context.pool, context.app, context.metrics, context.settings
    return [
        maintain(pool, app, context.files, settings, orphans_to, metrics.orphans.inc),
        finish_deletions(pool, context.files),
        deliver_webhooks(pool, settings.webhook_networks, metrics.count_webhook),
        return_free_memory_regularly(),
    ]


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _name_route(route: BaseRoute | None) -> str | None:
    """Return the path of a route for the metrics: the same with and without the version."""
    path = getattr(route, "path", None)
    return None if path is None else path.removeprefix(VERSION)


def build_security_policy(media_origin: str = "") -> str:
    """Return the content security policy; `media_origin` is that of clips elsewhere."""
    elsewhere = f" {media_origin}" if media_origin else ""
    return (
        "default-src 'self'; img-src 'self' data: blob:; "
        f"media-src 'self' blob:{elsewhere}; connect-src 'self'{elsewhere}; object-src 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
    )


def _add_middleware(app: FastAPI, settings: ApiSettings, host: str, media_origin: str) -> None:
    security_headers = {
        "Content-Security-Policy": build_security_policy(media_origin),
        **SECURITY_HEADERS,
    }
    app.add_middleware(
        body_limit.BodyLimit,
        seconds=settings.body_seconds,
        count=lambda code: count_refusal(app, code),
    )
    app.add_middleware(CsrfProtection, origins=settings.cors_origins)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"],
            expose_headers=[*EXPOSED_HEADERS, *routes_sound.SOUND_HEADERS],
        )
    if host in LOOPBACK:
        # DNS rebinding: a foreign page can point its own host name at this machine.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])

    def observe(scope: Scope, status: int, seconds: float) -> None:
        context: Context | None = getattr(app.state, "context", None)
        if context is not None:
            route = _name_route(scope.get("route"))
            context.metrics.observe_request(scope["method"], route, status, seconds)

    app.add_middleware(
        Replies, headers=security_headers, answer=answer_unexpected_error, observe=observe
    )
    # Added last, so it is the outermost.
    app.add_middleware(CallHeaders)
