"""ASGI middleware to limit the size and the transfer time of request bodies.

Starlette has one limit of size for all routes, but uploads may be larger than JSON bodies. Without
a limit of time, a slow sender could occupy a connection forever.
"""

from __future__ import annotations

import asyncio
import time

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.job_api.store.uploads import UPLOAD_MAX_BYTES

JSON_MAX_BYTES = 140_000_000
"""Enough for 100 MB of audio in base64 and the other fields."""
CODES = {408: "body_too_slow", 413: "body_too_large"}
UPLOAD_FACTOR = 10
"""An upload may take this many times longer than other bodies."""


class BodyLimit:
    """Limiter of bodies. `seconds`: time for the transfer of a body other than an upload."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with a limited body, or answer 413 for a declared size too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = scope["path"] == "/uploads"
        most = UPLOAD_MAX_BYTES if is_upload else JSON_MAX_BYTES
        end = time.monotonic() + self._seconds * (UPLOAD_FACTOR if is_upload else 1)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            error = {"code": CODES[413], "message": _too_large(most)}
            await JSONResponse({"error": error}, 413)(scope, receive, send)
            return
        await self._app(scope, _Limited(receive, most, end), send)


class _Limited:
    """`receive` with limits for the body.

    Raises: `HTTPException`. FastAPI would report any other error as an invalid body.
    """

    def __init__(self, receive: Receive, most: int, end: float) -> None:
        self._receive, self._most, self._end = receive, most, end
        self._size = 0
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            # Only the disconnection of the caller can follow, at any time.
            return await self._receive()
        left = max(0.0, self._end - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), left)
        except asyncio.TimeoutError:
            raise HTTPException(408, "The body was not received in time.") from None
        if message["type"] == "http.request":
            self._size += len(message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
            if self._size > self._most:
                raise HTTPException(413, _too_large(self._most))
        return message


def _too_large(most: int) -> str:
    return f"The body is larger than {most / 1e6:g} MB, the limit."
