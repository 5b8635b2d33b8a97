"""Live sound as an answer in chunks, sent while the music is made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from handlers.call_errors import ApiError
from musicgen.errors import MusicGenError

logger = logging.getLogger(__name__)


class LiveSound(Response):
    """Answer of one growing file. `pieces` are its bytes after `first`.

    After an error the connection is closed without the last chunk, so that no caller takes the
    part for the whole. `held` is closed at the end. `seconds`: longest time of sending.
    """

    def __init__(
        self,
        first: bytes,
        pieces: AsyncGenerator[bytes, None],
        held: AsyncExitStack,
        seconds: float,
        media_type: str,
        headers: dict[str, str],
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._first, self._pieces, self._held = first, pieces, held
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            # A reader who stops reading blocks `send`.
            async with self._held, asyncio.timeout(self._seconds):
                try:
                    await send(start)
                    await _send_body(send, self._first)
                    async for piece in self._pieces:
                        await _send_body(send, piece)
                    await _send_body(send, b"", more=False)
                finally:
                    await self._pieces.aclose()
        except (MusicGenError, ApiError, TimeoutError) as error:
            code = getattr(error, "code", "stream_too_long")
            logger.warning("a stream ended early code=%s", code)


async def _send_body(send: Send, piece: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": more})
