"""Replies with a file: conditional requests, ranges, and their errors as JSON."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import datetime
from email.utils import parsedate_to_datetime

from fastapi import Request
from fastapi.responses import FileResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Message, Receive, Scope, Send

from handlers.job_api.errors import NotFound, PreconditionFailed, RangeNotSatisfiable

CONDITIONS = ("if-match", "if-unmodified-since", "if-none-match", "if-modified-since")
_RULES = StaticFiles(check_dir=False)
"""Starlette's rules of 304; it has none of 412, and serves no file itself."""
_TAG = re.compile(r'(?:W/)?"[^"]*"')
_PART = re.compile(r"[ \t]*(?:([0-9]+)-([0-9]*)|-([0-9]+))[ \t]*")
_DIGITS_MOST = 18
"""Python refuses to read numbers of thousands of digits; no file has a position of more."""


def check_conditions(request: Request, headers: Headers) -> Response | None:
    """Return the reply 304 if the caller has the version with these `headers`, else None.

    Raises: `PreconditionFailed`, if the caller wants a part of another version only.
    """
    if not any(name in request.headers for name in CONDITIONS):
        return None
    if not _is_expected(request.headers, headers):
        raise PreconditionFailed
    is_known = _RULES.is_not_modified(headers, request.headers)
    return NotModifiedResponse(headers) if is_known else None


def _is_expected(sent: Headers, headers: Headers) -> bool:
    """Return whether If-Match, or else If-Unmodified-Since, allows a version (RFC 9110, 13.2.2)."""
    if "if-match" in sent:
        expected = ",".join(sent.getlist("if-match")).strip()
        # A weak tag in the list equals no tag here.
        return expected == "*" or headers["etag"] in _TAG.findall(expected)
    limit = _read_date(sent.get("if-unmodified-since", ""))
    modified = _read_date(headers.get("last-modified", ""))
    return limit is None or modified is None or modified <= limit


def _read_date(text: str) -> datetime | None:
    """Return a date of HTTP. A malformed one is None: its condition is ignored."""
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else None


class FileReply(FileResponse):
    """File of this machine.

    A malformed range is ignored, as HTTP allows (RFC 9110, 14.2), and so are the ranges outside the
    file beside one inside it. Raises: `NotFound` for a file deleted meanwhile,
    `PreconditionFailed`, `RangeNotSatisfiable`.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, a part of it, or 304."""
        size = (await self.read_stat()).st_size
        if (unchanged := check_conditions(Request(scope), self.headers)) is not None:
            await unchanged(scope, receive, send)
            return

        async def send_checked(message: Message) -> None:
            if message.get("status") == 416:
                raise RangeNotSatisfiable(size)
            await send(message)

        await super().__call__(_replace_range(scope, size), receive, send_checked)

    async def read_stat(self) -> os.stat_result:
        """Return the file's size and time, which its headers have from then on.

        Raises: `NotFound`.
        """
        if self.stat_result is None:
            try:
                self.stat_result = await asyncio.to_thread(os.stat, self.path)
            except FileNotFoundError:
                raise NotFound("The file has been deleted.") from None
            self.set_stat_headers(self.stat_result)
        return self.stat_result


def _replace_range(scope: Scope, size: int) -> Scope:
    """Return `scope` with the ranges that a file of `size` bytes has; malformed ones are removed.

    Starlette refuses all ranges if one is outside the file, and reads numbers that Python allows
    but HTTP does not.
    """
    sent = Headers(scope=scope).get("range")
    if sent is None:
        return scope
    # HEAD has no ranges (RFC 9110, 14.2).
    ranges = select_ranges(sent, size) if scope["method"] == "GET" else None
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
