"""ASGI middleware to limit the size and the transfer time of request bodies, by route.

A route without a limit of its own takes hardly any body. Without a limit of time, a slow sender
could occupy a connection forever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.job_api.api.bodies import INLINE_MAX_BYTES
from handlers.job_api.api.mcp_endpoint import MESSAGE_MAX_BYTES
from handlers.job_api.api.middleware.error_body import build_error_body
from handlers.job_api.store.upload_files import UPLOAD_MAX_BYTES
from handlers.job_api.store.uploads import UPLOAD_PATIENCE

CODES = {408: "body_too_slow", 413: "body_too_large"}


@dataclass(frozen=True)
class RouteLimit:
    """Limit of the bodies of one route, with the advice of its error.

    `patience`: factor of the time for the transfer.
    """

    bytes: int
    patience: int = 1
    advice: str = ""

    @property
    def message(self) -> str:
        """Text of the error 413."""
        size = f"{self.bytes / 1e6:g} MB" if self.bytes >= 1e6 else f"{self.bytes / 1e3:g} kB"
        return f"The body is larger than {size}, the limit.{self.advice}"


OTHER = RouteLimit(1000)
"""Limit of all other routes: `POST /session` takes a key, the others take no body."""
_GENERATION = RouteLimit(INLINE_MAX_BYTES, advice=" Send a larger sound to POST /v1/uploads.")
LIMITS = {
    "/v1/uploads": RouteLimit(UPLOAD_MAX_BYTES, patience=UPLOAD_PATIENCE),
    "/v1/generate": _GENERATION,
    "/generate": _GENERATION,
    "/v1/audio/speech": _GENERATION,
    "/v1/audio/generate": _GENERATION,
    "/v1/audio/music": _GENERATION,
    "/v1/audio/music/generations": _GENERATION,
    "/v1/sound-generation": _GENERATION,
    "/v1/music": _GENERATION,
    "/v1/music/stream": _GENERATION,
    "/mcp": RouteLimit(MESSAGE_MAX_BYTES),
}


class BodyLimit:
    """Limiter of bodies.

    `seconds`: time for the transfer of a body other than an upload. `count`: called with the code
    of a refusal that reaches no route.
    """

    def __init__(self, app: ASGIApp, seconds: float, count: Callable[[str], object]) -> None:
        self._app = app
        self._seconds = seconds
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a limited body, or answer 413 for a declared size too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = LIMITS.get(scope["path"], OTHER)
        end = time.monotonic() + self._seconds * limit.patience
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit.bytes:
            self._count(CODES[413])
            error = build_error_body(413, CODES[413], limit.message)
            await JSONResponse(error, 413)(scope, receive, send)
            return
        exchange = _Exchange(receive, send, limit, end)
        await self._app(scope, exchange.receive, exchange.send)


class _Exchange:
    """`receive` and `send` of one call, with limits for the body until the answer begins.

    Responses that watch for the disconnection of the caller receive a body that no route has read.
    An error of theirs would cut the answer, and fill the log with its traceback. The rest of such
    a body is dropped, as is that of a body once refused.

    Raises: `HTTPException`, once. FastAPI would report any other error as an invalid body.
    """

    def __init__(self, receive: Receive, send: Send, limit: RouteLimit, end: float) -> None:
        self._receive, self._send = receive, send
        self._limit, self._end = limit, end
        self._size = 0
        self._is_whole = self._is_refused = self._has_answer = False

    async def send(self, message: Message) -> None:
        self._has_answer = True
        await self._send(message)

    async def receive(self) -> Message:
        while self._needs_body():
            left = max(0.0, self._end - time.monotonic())
            try:
                message = await asyncio.wait_for(self._receive(), left)
            except TimeoutError:
                if not self._needs_body():
                    break
                self._is_refused = True
                raise HTTPException(408, "The body was not received in time.") from None
            if message["type"] != "http.request":
                return message
            self._size += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._size <= self._limit.bytes:
                return message
            if not self._has_answer:
                self._is_refused = True
                raise HTTPException(413, self._limit.message)
        # Only the disconnection of the caller matters now; it can follow at any time.
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return message

    def _needs_body(self) -> bool:
        return not (self._is_whole or self._is_refused or self._has_answer)
