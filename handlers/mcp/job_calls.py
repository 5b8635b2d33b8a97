"""Calls of a job API for tools: each returns its JSON, or raises the server's own message."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
from mcp.server.mcpserver.exceptions import ToolError

FINAL = ("completed", "failed", "cancelled")
TIMEOUT = httpx.Timeout(60.0, read=90.0)
"""The events of a waiting job have a comment every 15 seconds."""
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_DATA = "data: "


Connect = Callable[[Any], AbstractAsyncContextManager["JobCalls"]]
"""Opens the calls for one HTTP request of an agent, or None on stdio."""


class CallRefused(ToolError):
    """The job API refused a call with this HTTP `status`."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class JobCalls:
    """Calls with one key. `http` has the address and the key; `public_url` is that of links.

    `kept_ms`: lifetime of finished jobs in milliseconds, None if it is not known. `is_stopping`:
    whether the server of the agent ends; a tool answers then without waiting any longer.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        public_url: str,
        *,
        needs_key: bool,
        kept_ms: int | None = None,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._http = http
        self.public_url = public_url.rstrip("/")
        self.needs_key = needs_key
        self.kept_ms = kept_ms
        self.is_stopping = is_stopping

    async def submit(self, fields: Mapping[str, Any]) -> str:
        """Submit a job and return its id."""
        answer = await self._call("POST", "/v1/generate", json=dict(fields))
        return str(answer["job_id"])

    async def read(self, job_id: str) -> dict[str, Any]:
        """Return the status of a job."""
        return await self._call("GET", f"/v1/status/{_check_id(job_id)}")

    async def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job and return its status."""
        return await self._call("POST", f"/v1/jobs/{_check_id(job_id)}/cancel")

    async def delete(self, job_id: str) -> bool:
        """Delete a job with its files; return whether all are gone already."""
        path = f"/v1/jobs/{_check_id(job_id)}"
        response = await self._send("DELETE", path)
        if response.status_code == 200:
            # It was not finished, and is cancelled now.
            response = await self._send("DELETE", path)
        return response.status_code == 204

    async def list_jobs(self, **query: Any) -> dict[str, Any]:
        """Return a page of the caller's jobs."""
        given = {name: value for name, value in query.items() if value is not None}
        return await self._call("GET", "/v1/jobs", params=given)

    async def models(self) -> dict[str, Any]:
        """Return the models and the default."""
        return await self._call("GET", "/v1/models")

    async def follow(self, job_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the status of a job at each change, until it or the server ends."""
        path = f"/v1/jobs/{_check_id(job_id)}/events"
        async with self._stream(path) as response:
            async for line in response.aiter_lines():
                if self.is_stopping():
                    return
                if line.startswith(_DATA):
                    yield json.loads(line.removeprefix(_DATA))

    async def download(self, path: str, limit: int) -> bytes | None:
        """Return a clip of at most `limit` bytes, or None for a larger one."""
        content = bytearray()
        async with self._stream(path) as response:
            async for block in response.aiter_bytes():
                content += block
                if len(content) > limit:
                    return None
        return bytes(content)

    async def copy_clip(self, path: str) -> str:
        """Store a clip as an upload, and return its value for `input_audio`."""
        async with self._stream(path) as response:
            content = response.aiter_bytes()
            answer = await self._call("POST", "/v1/uploads", content=content)
        return str(answer["input_audio"])

    async def _call(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        answer: dict[str, Any] = (await self._send(method, path, **content)).json()
        return answer

    async def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise self._explain(error) from error
        _check(response)
        return response

    @asynccontextmanager
    async def _stream(self, path: str) -> AsyncIterator[httpx.Response]:
        try:
            async with self._http.stream("GET", path) as response:
                if not response.is_success:
                    await response.aread()
                    _check(response)
                yield response
        except httpx.TransportError as error:
            raise self._explain(error) from error

    def _explain(self, error: httpx.TransportError) -> ToolError:
        return ToolError(
            f"No job API answers at {self.public_url} ({type(error).__name__}). Ask the user to "
            "start one with `musicgen serve all`, or to name another with `musicgen mcp --server`."
        )


def _check_id(job_id: str) -> str:
    """Return a job's id. Raises: `CallRefused`."""
    if not _JOB_ID.fullmatch(job_id):
        raise CallRefused(
            "job_id: must be the 32 hexadecimal digits that generate_music or list_clips returned "
            f"(was {job_id[:60]!r}).",
            404,
        )
    return job_id


def _check(response: httpx.Response) -> None:
    """Raise `CallRefused` with the server's message for a refused call."""
    if response.is_success:
        return
    try:
        error = response.json()["error"]
        text = f"{error['code']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        text = f"The server answered {response.status_code}."
    wait = response.headers.get("retry-after", "")
    text = f"{text} Try again in {wait} s." if wait.isdecimal() else text
    raise CallRefused(text, response.status_code)
