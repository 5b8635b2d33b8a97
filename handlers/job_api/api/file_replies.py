"""Replies with a file: conditional requests, ranges, and their errors as JSON."""

from __future__ import annotations

import asyncio
import os

from fastapi import Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Message, Receive, Scope, Send

from handlers.job_api.errors import NotFound, RangeNotSatisfiable

CONDITIONS = ("if-none-match", "if-modified-since")
PAGE_HEADERS = {"Cache-Control": "no-cache"}
"""Headers of the page and its files. Without them a browser may join a new page and old scripts."""
_RULES = StaticFiles(check_dir=False)
"""Starlette's rules of conditional requests; it serves no file itself."""


def find_not_modified(request: Request, headers: Headers) -> Response | None:
    """Return the reply 304 if the caller has the version with these `headers`, else None."""
    if not any(name in request.headers for name in CONDITIONS):
        return None
    is_known = _RULES.is_not_modified(headers, request.headers)
    return NotModifiedResponse(headers) if is_known else None


class FileReply(FileResponse):
    """File of this machine.

    A malformed range is ignored, as HTTP allows (RFC 9110, 14.2). Raises: `NotFound` for a file
    deleted meanwhile, `RangeNotSatisfiable`.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, a part of it, or 304."""
        if self.stat_result is None:
            try:
                self.stat_result = await asyncio.to_thread(os.stat, self.path)
            except FileNotFoundError:
                raise NotFound("The file has been deleted.") from None
            self.set_stat_headers(self.stat_result)
        if (unchanged := find_not_modified(Request(scope), self.headers)) is not None:
            await unchanged(scope, receive, send)
            return
        size = self.stat_result.st_size

        async def send_checked(message: Message) -> None:
            status = message.get("status")
            if status == 416:
                raise RangeNotSatisfiable(size)
            if status == 400:
                raise _MalformedRange
            await send(message)

        try:
            await super().__call__(scope, receive, send_checked)
        except _MalformedRange:
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            await super().__call__({**scope, "headers": headers}, receive, send)


class PageFiles(StaticFiles):
    """Files of the web page, each sent as a `FileReply`."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the reply with a file."""
        return FileReply(full_path, status_code, PAGE_HEADERS, stat_result=stat_result)


class _MalformedRange(Exception):
    """A range that cannot be understood."""
