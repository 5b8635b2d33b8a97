"""httpx transport to an ASGI application in the same process, with streamed bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.types import ASGIApp, Message, Scope

_OWN_CALL = "musicgen.own_call"
_QUEUE_MAX = 8
"""Parts of a response that may wait for their reader."""
_RUNNING: set[asyncio.Task[None]] = set()


def is_own_call(scope: Scope) -> bool:
    """Return whether a request comes from this process: it cannot follow a redirect elsewhere."""
    return _OWN_CALL in scope


class AppTransport(httpx.AsyncBaseTransport):
    """Transport to `app` for the calls made on behalf of one request.

    `scope`: that of the request. Its server, scheme and client are those of the calls, so that
    limits count its sender. httpx's own transport to applications keeps a response back until it
    is complete.
    """

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app = app
        self._outer = scope

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Run the application for a request; return its response once the headers are there."""
        exchange = _OwnCall(request)
        task = asyncio.create_task(exchange.run(self._app, self._build_scope(request)))
        _RUNNING.add(task)
        task.add_done_callback(_RUNNING.discard)
        try:
            start = await exchange.next_message()
        except BaseException:
            task.cancel()
            raise
        if start is None:
            raise httpx.RemoteProtocolError("the application sent no response", request=request)
        body = _StreamedBody(exchange, task)
        return httpx.Response(start["status"], headers=start["headers"], stream=body)

    def _build_scope(self, request: httpx.Request) -> Scope:
        outer = self._outer
        # A host that the outer request was allowed to name.
        host = [pair for pair in outer["headers"] if pair[0] == b"host"]
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        return {
            "type": "http",
            "asgi": outer["asgi"],
            "http_version": "1.1",
            "method": request.method,
            "scheme": outer["scheme"],
            "server": outer.get("server"),
            "client": outer.get("client"),
            "path": request.url.path,
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "root_path": "",
            "headers": [*host, *(pair for pair in headers if pair[0] != b"host")],
            _OWN_CALL: True,
        }


class _OwnCall:
    """`receive` and `send` of one call."""

    def __init__(self, request: httpx.Request) -> None:
        self._parts = self._read(request)
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue(_QUEUE_MAX)

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        await app(scope, self._receive, self._messages.put)
        # After a response without its end, too.
        await self._messages.put(None)

    async def next_message(self) -> Message | None:
        return await self._messages.get()

    @staticmethod
    async def _read(request: httpx.Request) -> AsyncIterator[Message]:
        stream: Any = request.stream
        async for block in stream:
            yield {"type": "http.request", "body": block, "more_body": True}
        yield {"type": "http.request", "body": b"", "more_body": False}

    async def _receive(self) -> Message:
        async for message in self._parts:
            return message
        # The reader's departure cancels the task instead.
        await asyncio.Event().wait()
        raise AssertionError("unreachable: nobody sets the event")


class _StreamedBody(httpx.AsyncByteStream):
    """Body of a response; closing it before its end cancels the call."""

    def __init__(self, exchange: _OwnCall, task: asyncio.Task[None]) -> None:
        self._exchange = exchange
        self._task = task

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._exchange.next_message()) is not None:
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body", False):
                return
        raise httpx.RemoteProtocolError("the application ended its response early")

    async def aclose(self) -> None:
        """Cancel the call unless it has ended."""
        if not self._task.done():
            self._task.cancel()
