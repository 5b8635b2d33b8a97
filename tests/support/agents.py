"""Agents: MCP's own client, over HTTP with a key and on stdio."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent

from tests.support import ROOT
from tests.support.job_server import environment

LEGACY, MODERN = "legacy", "2026-07-28"


@asynccontextmanager
async def over_http(url: str, key: str | None = None, **options: Any) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=60))
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        yield await stack.enter_async_context(Client(transport, **options))


@asynccontextmanager
async def on_stdio(
    url: str, *arguments: str, key: str | None = None, **options: Any
) -> AsyncIterator[Client]:
    env = environment(Path("unused"), **({"MUSICGEN_API_KEY": key} if key else {}))
    command = ["-m", "handlers.cli", "mcp", "--server", url, *arguments]
    server = StdioServerParameters(command=sys.executable, args=command, env=env, cwd=ROOT)
    async with Client(server, **options) as client:
        yield client


def run(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test's coroutine within a minute and a half."""

    async def limited() -> None:
        with anyio.fail_after(90):
            await work()

    anyio.run(limited)


def fields(result: CallToolResult) -> dict[str, Any]:
    """The structured content of a result without an error."""
    assert not result.is_error, text(result)
    assert result.structured_content is not None
    return result.structured_content


def text(result: CallToolResult) -> str:
    return "\n".join(part.text for part in result.content if isinstance(part, TextContent))
