"""ASGI middleware for every reply: headers, metrics, unexpected errors, and replies cut short.

Starlette's BaseHTTPMiddleware cannot be used: it completes a body whose stream failed, and callers
take a part of a clip for the whole one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from handlers.call_errors import ApiError
from musicgen.errors import MusicGenError
from musicgen.process.logs import get_request_id

logger = logging.getLogger(__name__)


class Replies:
    """Filter of replies. `headers`: added to each one that lacks them.

    `answer`: returns the reply to an unexpected error. `observe`: told the scope, the status and
    the seconds to the first bytes of each reply.
    """

    def __init__(
        self,
        app: ASGIApp,
        headers: Mapping[str, str],
        answer: Callable[[Exception], Response],
        observe: Callable[[Scope, int, float], None],
    ) -> None:
        self._app = app
        self._headers, self._answer, self._observe = headers, answer, observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                self._observe(scope, status, time.monotonic() - began)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            if not status:
                # Starlette would raise it again after its reply, and the server hang up.
                await self._answer(error)(scope, receive, send_with_headers)
                return
            # The server hangs up on a reply without its end, so the caller sees it is incomplete.
            _log_early_end(error)
        finally:
            if not status:
                # A call that was cancelled.
                self._observe(scope, 500, time.monotonic() - began)


def _log_early_end(error: Exception) -> None:
    # Starlette wraps an error with a handler, because it is too late for the handler.
    cause = error.__cause__ or error
    is_expected = isinstance(cause, (ApiError, MusicGenError))
    logger.warning(
        "A reply ended early: %s request_id=%s",
        *(cause, get_request_id()),
        exc_info=None if is_expected else error,
    )
