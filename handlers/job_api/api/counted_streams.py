"""Streamed replies, and the limit of the open streams of one client."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from handlers.job_api.errors import TooManyStreams


class OpenStreams:
    """Counter of open streams by client, each with at most `limit`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: Counter[str] = Counter()

    def add(self, client: str) -> None:
        """Count a stream. Raises: `TooManyStreams`."""
        if self._open[client] >= self._limit:
            raise TooManyStreams(self._limit)
        self._open[client] += 1

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Count a stream for the time of this context. Raises: `TooManyStreams`."""
        self.add(client)
        try:
            yield
        finally:
            self.remove(client)

    def remove(self, client: str) -> None:
        """Count the end of a stream."""
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]


class SteadyStream(StreamingResponse):
    """Streamed reply to a call without a body: one that comes all the same does not end it."""

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Return once the caller has hung up."""
        # The refusal of a body can come as the reply begins, too late for a reply of its own.
        try:
            await super().listen_for_disconnect(receive)
        except HTTPException:
            await super().listen_for_disconnect(receive)


class CountedStream(SteadyStream):
    """Response that counts as an open stream of `client` while it is sent.

    Raises: `TooManyStreams`, when it is made.
    """

    def __init__(self, streams: OpenStreams, client: str, content: Any, **details: Any) -> None:
        streams.add(client)
        self._streams, self._client = streams, client
        super().__init__(content, **details)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.remove(self._client)


class CheckedStream(CountedStream):
    """`CountedStream` with a reply of its own for an error before the first block.

    A later error ends the reply early.
    """

    async def stream_response(self, send: Send) -> None:
        """Send the response once its first block is there."""
        blocks: AsyncIterator[Any] = aiter(self.body_iterator)
        try:
            first = [await anext(blocks)]
        except StopAsyncIteration:
            first = []
        self.body_iterator = _chain(first, blocks)
        await super().stream_response(send)


async def _chain(first: list[Any], rest: AsyncIterable[Any]) -> AsyncIterator[Any]:
    for block in first:
        yield block
    async for block in rest:
        yield block
