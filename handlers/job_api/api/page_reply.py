"""Replies with the web page and its files, compressed for callers who read gzip."""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from handlers.job_api.api.file_replies import FileReply, check_conditions
from handlers.job_api.errors import NotFound

PAGE_HEADERS = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
"""Without the first a browser may join a new page and old scripts."""
_FILES_KEPT, _TEXTS_KEPT = 128, 4
_WEIGHT = re.compile(r"[ \t]*q=([01](?:\.[0-9]*)?)[ \t]*")


class PageReply(FileReply):
    """File of the web page. A compressed one is a version of its own, with its own ETag.

    A part of the file is sent as it is. Raises: the errors of `FileReply`.
    """

    def __init__(
        self, path: str | os.PathLike[str], stat_result: os.stat_result | None = None
    ) -> None:
        super().__init__(path, headers=PAGE_HEADERS, stat_result=stat_result)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, a part of it, or 304."""
        headers = Headers(scope=scope)
        if _wants_part(headers) or not reads_gzip(headers):
            await super().__call__(scope, receive, send)
            return
        await self.read_stat()
        try:
            data = await asyncio.to_thread(
                _compress_file, os.fspath(self.path), self.headers["etag"]
            )
        except FileNotFoundError:
            raise NotFound("The file has been deleted.") from None
        await _build_compressed(data, self.headers, Request(scope))(scope, receive, send)


class PageFiles(StaticFiles):
    """Files of the web page, each sent as a `PageReply`."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """Return the reply with a file. Its status is 200: there are no pages for errors."""
        return PageReply(full_path, stat_result)


def build_page_text(request: Request, text: str, media_type: str) -> Response:
    """Return a reply with a text of the page that is no file."""
    data, compressed, tag = _prepare_text(text)
    reply = Response(data, media_type=media_type, headers={**PAGE_HEADERS, "ETag": tag})
    if reads_gzip(request.headers):
        return _build_compressed(compressed, reply.headers, request)
    return check_conditions(request, reply.headers) or reply


def reads_gzip(headers: Headers) -> bool:
    """Return whether a caller accepts gzip (RFC 9110, 12.5.3)."""
    weights = {}
    for accepted in ",".join(headers.getlist("accept-encoding")).lower().split(","):
        name, _, weight = accepted.partition(";")
        found = _WEIGHT.fullmatch(weight)
        weights[name.strip().removeprefix("x-")] = found is None or float(found[1]) > 0
    return weights.get("gzip", weights.get("*", False))


def _wants_part(headers: Headers) -> bool:
    """Return whether a caller wants a part of the file itself.

    Both versions have the same date, so a date does not tell of which one the caller has a part.
    """
    return "range" in headers and headers.get("if-range", '"').startswith('"')


def _build_compressed(data: bytes, headers: Mapping[str, str], request: Request) -> Response:
    """Return a reply with compressed `data`. `headers`: those of the reply with it as it is."""
    own = {name: value for name, value in headers.items() if name.lower() != "accept-ranges"}
    reply = Response(data, headers=own)
    reply.headers["Content-Encoding"] = "gzip"
    reply.headers["Content-Length"] = str(len(data))
    reply.headers["ETag"] = f'{headers["etag"][:-1]}-gzip"'
    return check_conditions(request, reply.headers) or reply


@functools.lru_cache(_FILES_KEPT)
def _compress_file(path: str, tag: str) -> bytes:
    """Return a file compressed. `tag`: that of its version, for the cache."""
    return _compress(Path(path).read_bytes())


@functools.lru_cache(_TEXTS_KEPT)
def _prepare_text(text: str) -> tuple[bytes, bytes, str]:
    """Return a text as bytes, these compressed, and the ETag of the former."""
    data = text.encode()
    return data, _compress(data), f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def _compress(data: bytes) -> bytes:
    """Return data compressed, without a time: equal data have equal bytes."""
    return gzip.compress(data, mtime=0)
