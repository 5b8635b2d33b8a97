"""The MCP server of the job API: streamable HTTP without sessions, so any API process can answer.

Tools call the API itself, with the key and the address of their caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import httpx
from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.job_api.api.app_transport import AppTransport

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from handlers.job_api.api.context import Context
    from handlers.mcp.job_calls import JobCalls

MESSAGE_MAX_BYTES = 200_000
"""Limit of a message: the longest prompts and sections with every character escaped fit."""
_INSIDE = "http://job-api.invalid"
_PASSED = ("authorization", "xi-api-key", "cookie", "traceparent")


def has_mcp() -> bool:
    """Return whether the extra `mcp` is installed."""
    return find_spec("mcp") is not None


class McpEndpoint:
    """MCP server of one API process. It starts with the first message: its imports take time."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._starting: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[StreamableHTTPSessionManager] | None = None

    async def open(self) -> StreamableHTTPSessionManager:
        """Return the running server."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_future()
            self._starting = asyncio.create_task(self._run(self._ready))
        return await asyncio.shield(self._ready)

    async def close(self) -> None:
        """Stop the server."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)

    async def _run(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        try:
            manager = await asyncio.to_thread(self._build)
            async with manager.run():
                ready.set_result(manager)
                await asyncio.Event().wait()
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)

    def _build(self) -> StreamableHTTPSessionManager:
        from mcp.server.transport_security import TransportSecuritySettings

        from handlers.mcp.server import build_server

        # It reports rejected arguments of callers at every call.
        logging.getLogger("mcp").setLevel(logging.WARNING)
        server = build_server(self._connect)
        server.streamable_http_app(
            stateless_http=True,
            max_request_body_size=MESSAGE_MAX_BYTES,
            # The API has checked host and origin.
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )
        return server.session_manager

    @asynccontextmanager
    async def _connect(self, request: Request) -> AsyncIterator[JobCalls]:
        from handlers.mcp.job_calls import TIMEOUT, JobCalls

        headers = {name: request.headers[name] for name in _PASSED if name in request.headers}
        async with httpx.AsyncClient(
            base_url=_INSIDE,
            headers=headers,
            transport=AppTransport(self._app, request.scope),
            timeout=TIMEOUT,
            trust_env=False,
        ) as http:
            context: Context = self._app.state.context
            yield JobCalls(
                http,
                str(request.base_url),
                needs_key=context.needs_keys,
                kept_ms=context.settings.retention_hours * 3_600_000,
                is_stopping=self._app.state.is_stopping,
            )


class McpResponse(Response):
    """Response made by the MCP server, to the request of its caller."""

    def __init__(self, manager: StreamableHTTPSessionManager) -> None:
        super().__init__()
        self._manager = manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the MCP server answer."""
        await self._manager.handle_request(scope, receive, send)
