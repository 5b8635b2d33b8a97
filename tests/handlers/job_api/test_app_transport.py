"""Calls of an application by itself: streamed both ways, cancelled with their reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from handlers.job_api.api.app_transport import AppTransport, is_own_call

OUTER: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "scheme": "https",
    "server": ("music.example", 443),
    "client": ("203.0.113.7", 5000),
    "headers": [(b"host", b"music.example"), (b"cookie", b"of the outer call")],
}


class Application:
    """Echoes a body block by block, or streams without an end."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.sent = 0
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        try:
            if scope["path"] == "/silent":
                return
            await send({"type": "http.response.start", "status": 201, "headers": [(b"a", b"b")]})
            while scope["path"] == "/endless":
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                self.sent += 1
            more = True
            while more:
                message = await receive()
                more = message["more_body"]
                await send(
                    {"type": "http.response.body", "body": message["body"], "more_body": more}
                )
        finally:
            self.ended.set()


def _client(app: Application) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=AppTransport(app, OUTER), base_url="http://inside.invalid")


def test_a_call_has_the_place_of_the_outer_one() -> None:
    async def work() -> None:
        app = Application()
        async with _client(app) as http:
            answer = await http.post("/a?b=c", content=b"sound", headers={"X-Own": "1"})
        assert (answer.status_code, answer.headers["a"], answer.content) == (201, "b", b"sound")
        (scope,) = app.scopes
        headers = dict(scope["headers"])
        assert (headers[b"host"], headers[b"x-own"]) == (b"music.example", b"1")
        assert b"cookie" not in headers and is_own_call(scope) and not is_own_call(OUTER)
        assert (scope["path"], scope["query_string"]) == ("/a", b"b=c")
        assert (scope["client"], scope["scheme"]) == (OUTER["client"], "https")

    asyncio.run(work())


def test_bodies_are_streamed_both_ways() -> None:
    async def work() -> None:
        read: list[bytes] = []

        async def blocks() -> AsyncIterator[bytes]:
            for number in range(50):
                # The application answers each block before the next one is made.
                assert number - len(read) < 20
                yield bytes([number])

        async with (
            _client(Application()) as http,
            http.stream("POST", "/", content=blocks()) as got,
        ):
            async for block in got.aiter_bytes():
                read += [block]
        assert b"".join(read) == bytes(range(50))

    asyncio.run(work())


def test_an_answer_waits_for_its_reader_and_ends_with_it() -> None:
    async def work() -> None:
        app = Application()
        async with _client(app) as http:
            async with http.stream("GET", "/endless") as got:
                async for _ in got.aiter_bytes():
                    break
                await asyncio.sleep(0.05)
                assert app.sent < 20
            await asyncio.wait_for(app.ended.wait(), 5)

    asyncio.run(work())


def test_an_application_without_an_answer_is_an_error() -> None:
    async def work() -> None:
        async with _client(Application()) as http:
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get("/silent")

    asyncio.run(work())
