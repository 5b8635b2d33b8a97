"""Replies with a file: conditional requests, ranges, and their errors as JSON."""

from __future__ import annotations

import asyncio
import os
import re

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
_PART = re.compile(r"[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*")
_DIGITS_MOST = 18
"""Python refuses to read numbers of thousands of digits; no file has a position of more."""


def find_not_modified(request: Request, headers: Headers) -> Response | None:
    """Return the reply 304 if the caller has the version with these `headers`, else None."""
    if not any(name in request.headers for name in CONDITIONS):
        return None
    is_known = _RULES.is_not_modified(headers, request.headers)
    return NotModifiedResponse(headers) if is_known else None


class FileReply(FileResponse):
    """File of this machine.

    A malformed range is ignored, as HTTP allows (RFC 9110, 14.2), and so are the ranges outside the
    file beside one inside it. Raises: `NotFound` for a file deleted meanwhile,
    `RangeNotSatisfiable`.
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
            if message.get("status") == 416:
                raise RangeNotSatisfiable(size)
            await send(message)

        await super().__call__(_replace_range(scope, size), receive, send_checked)


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


def _replace_range(scope: Scope, size: int) -> Scope:
    """Return `scope` with the ranges that a file of `size` bytes has; malformed ones are removed.

    Starlette refuses all ranges if one is outside the file, and reads numbers that Python allows
    but HTTP does not.
    """
    sent = Headers(scope=scope).get("range")
    if sent is None:
        return scope
    ranges = select_ranges(sent, size)
    headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
    if ranges is not None:
        headers.append((b"range", ranges.encode()))
    return {**scope, "headers": headers}


def select_ranges(header: str, size: int) -> str | None:
    """Return the ranges of a header Range that a file of `size` bytes has.

    Those outside the file stay if there is no other one. None for a malformed header.
    """
    unit, _, text = header.partition("=")
    parts = [part for part in text.split(",") if part.strip(" \t")]
    found = [_PART.fullmatch(part) for part in parts]
    if unit.strip().lower() != "bytes" or not parts or None in found:
        return None
    inside: list[str] = []
    outside: list[str] = []
    for match in filter(None, found):
        if match[3] is not None:
            count = _read_number(match[3])
            (inside if count else outside).append(f"-{count}")
            continue
        first, last = _read_number(match[1]), _read_number(match[2]) if match[2] else None
        if last is not None and first > last:
            return None
        name = f"{first}-{'' if last is None else last}"
        (inside if first < size else outside).append(name)
    return "bytes=" + ",".join(inside or outside)


def _read_number(digits: str) -> int:
    return int(digits.lstrip("0")[:_DIGITS_MOST] or 0)
