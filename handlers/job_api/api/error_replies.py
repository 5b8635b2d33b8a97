"""Errors of calls as JSON, with the headers of their status.

The body is {"error": {"code", "message", "request_id"}}.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match, Mount

from handlers.contract import describe_error, find_status
from handlers.job_api.api.context import Context
from handlers.job_api.api.field_reasons import find_field, find_field_reason
from handlers.job_api.api.middleware import body_limit
from handlers.job_api.api.middleware.error_body import build_error_body
from handlers.job_api.errors import ApiError, RangeNotSatisfiable, Unauthorized, find_reason
from handlers.job_api.store.database import DISCONNECT_ERRORS
from musicgen.errors import GenerationCancelled, InvalidRequest, MusicGenError
from musicgen.process.logs import get_request_id

HANG_UP = find_status(GenerationCancelled())
"""Status of a call whose caller hung up before its body was complete."""
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST")
_CODES = {404: "not_found", 405: "method_not_allowed", **body_limit.CODES}

logger = logging.getLogger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every expected error of a call with its JSON."""

    @app.exception_handler(ApiError)
    async def handle_api_error(request: Request, error: ApiError) -> JSONResponse:
        count_refusal(request.app, error.code)
        details: dict[str, Any] = (
            {} if error.expected_seconds is None else {"expected_seconds": error.expected_seconds}
        )
        details |= _field_detail(error.field)
        headers = _build_headers(error)
        return _build_error(error.status, error.code, str(error), headers=headers, **details)

    @app.exception_handler(MusicGenError)
    async def handle_musicgen_error(_: Request, error: MusicGenError) -> JSONResponse:
        report = describe_error(error)
        field = error.field if isinstance(error, InvalidRequest) else None
        headers = {"Retry-After": "10"} if report.status == 503 else {}
        details = _field_detail(field) | find_reason(error)
        return _build_error(report.status, report.code, report.text, headers=headers, **details)

    @app.exception_handler(RequestValidationError)
    async def handle_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field, reason = find_field(first), find_field_reason(first)
        name = field or "The request"
        text = f"{name}: {first['msg']}" if reason is None else f"{name} {reason}."
        details = _field_detail(field) | (reason.to_mapping() if reason else {})
        return _build_error(422, "invalid_request", text, **details)

    @app.exception_handler(HTTPException)
    async def handle_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        code, headers = _CODES.get(error.status_code, "refused"), dict(error.headers or {})
        count_refusal(request.app, code)
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_list_methods(request)) or headers.get("Allow", "")
        return _build_error(error.status_code, code, str(error.detail), headers=headers)

    async def handle_disconnect(_: Request, error: Exception) -> JSONResponse:
        request_id = get_request_id()
        logger.error("The database is unavailable. request_id=%s", request_id, exc_info=error)
        message = "The database is unavailable. Send the same call again."
        return _build_error(503, "database_away", message, headers={"Retry-After": "10"})

    for error_class in DISCONNECT_ERRORS:
        app.add_exception_handler(error_class, handle_disconnect)

    @app.exception_handler(ClientDisconnect)
    async def handle_hang_up(_: Request, error: ClientDisconnect) -> Response:
        # Nobody reads it; it is for the metrics alone.
        return Response(status_code=HANG_UP)


def _list_methods(request: Request) -> list[str]:
    """Return the methods of all routes of a path: Starlette names those of the first one alone."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


def answer_unexpected_error(error: Exception) -> JSONResponse:
    """Log an error without a handler, and return its reply."""
    request_id = get_request_id()
    logger.error("A call failed unexpectedly. request_id=%s", request_id, exc_info=error)
    report = describe_error(error)
    return _build_error(report.status, report.code, report.text)


def count_refusal(app: FastAPI, code: str) -> None:
    """Count a refused call in the metrics."""
    context: Context | None = getattr(app.state, "context", None)
    if context is not None:
        context.metrics.refused.labels(code).inc()


def _build_headers(error: ApiError) -> dict[str, str]:
    """Return the headers that belong to a refusal."""
    headers = dict(error.headers)
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.size}"
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = error.challenge
    return headers


def _field_detail(field: str | None) -> dict[str, Any]:
    return {} if field is None else {"field": field}


def _build_error(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None, **details: Any
) -> JSONResponse:
    return JSONResponse(build_error_body(status, code, message, **details), status, headers)
