"""ASGI middleware for the headers of every answer: request id, rate limit and Retry-After.

A caller's own `X-Request-ID` is kept, so that one id follows a call through several services.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.job_api.api.rate_limits import Allowance
from musicgen.process.logs import about_request

REQUEST_ID = "X-Request-ID"
RETRY_SECONDS = 10
"""Retry-After of an answer 429 or 503 without one of its own."""
EXPOSED_HEADERS = (
    *("Content-Disposition", "Content-Range", "ETag", "Location", "RateLimit", "RateLimit-Policy"),
    *("Retry-After", "WWW-Authenticate", REQUEST_ID),
)
"""Headers that scripts of other sites may read (CORS)."""
_SANE = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
"""Nothing that could break a line of a log, a shell or a page."""

logger = logging.getLogger(__name__)


class CallHeaders:
    """Adder of the headers; the outermost middleware, so that no answer lacks them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a request id in its logs and errors."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = choose_request_id(Headers(scope=scope).get(REQUEST_ID))
        began, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                _add_limits(headers, status, scope.get("state", {}).get("allowance"))
            await send(message)

        with about_request(request_id):
            try:
                await self._app(scope, receive, send_with_headers)
            finally:
                level = logging.INFO if status >= 500 else logging.DEBUG
                logger.log(
                    level,
                    "Call answered. method=%s path=%r status=%d seconds=%.3f request_id=%s",
                    *(scope["method"], scope["path"][:200], status),
                    *(time.monotonic() - began, request_id),
                )


def choose_request_id(given: str | None) -> str:
    """Return the caller's id if it is a plain token, else a new one."""
    if given is not None and _SANE.fullmatch(given):
        return given
    return secrets.token_hex(16)


def _add_limits(headers: MutableHeaders, status: int, allowance: Allowance | None) -> None:
    """Add the rate limit (draft-ietf-httpapi-ratelimit-headers-11) and a Retry-After."""
    if allowance is not None:
        headers["RateLimit-Policy"] = f'"calls";q={allowance.most};w={allowance.window}'
        headers["RateLimit"] = f'"calls";r={allowance.left};t={allowance.seconds}'
    if status in (429, 503):
        headers.setdefault("Retry-After", str(RETRY_SECONDS))
