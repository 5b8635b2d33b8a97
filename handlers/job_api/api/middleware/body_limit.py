"""No body is larger, and none takes longer, than its route allows: an ASGI middleware.

Starlette's own limit of size would do for one limit; uploads have another one than JSON, and a body
that trickles in would hold a connection for as long as its sender likes.
"""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.job_api.store.files import UPLOAD_MAX_BYTES

JSON_MAX_BYTES = 140_000_000
"""A sound of 100 MB in base64, and the fields around it."""
CODES = {408: "body_too_slow", 413: "body_too_large"}
UPLOAD_FACTOR = 10
"""How much longer than other bodies an upload may take."""


class BodyLimit:
    """`seconds` that a body may take; an upload ten times as long."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == "/uploads"
        most = UPLOAD_MAX_BYTES if is_upload else JSON_MAX_BYTES
        end = time.monotonic() + self._seconds * (UPLOAD_FACTOR if is_upload else 1)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            error = {"code": CODES[413], "message": _at_most(most)}
            await JSONResponse({"error": error}, 413)(scope, receive, send)
            return
        await self._app(scope, _Limited(receive, most, end), send)


class _Limited:
    """`receive` of a body that ends in time and below its limit.

    Raises: `HTTPException`, the one kind of error that is not taken for a mistake in the body by
    those who read it.
    """

    def __init__(self, receive: Receive, most: int, end: float) -> None:
        self._receive, self._most, self._end = receive, most, end
        self._size = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            # Only whether the caller goes away is still to be heard.
            return await self._receive()
        left = max(0.0, self._end - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError:
            raise HTTPException(408, "the body did not come in time") from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._size > self._most:
                raise HTTPException(413, _at_most(self._most))
        return message


def _at_most(size: int) -> str:
    return f"at most {size / 1e6:g} MB"
