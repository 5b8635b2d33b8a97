"""Pages of other sites change nothing here: an ASGI middleware.

A browser sends a form or plain text to any address without asking first, with what it knows of that
address: on a machine without keys any page that is looked at could fill the queue.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HARMLESS = ("GET", "HEAD", "OPTIONS")
_OWN = ("same-origin", "none")


class SameSite:
    """`origins`: of sites whose pages may call all the same."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _HARMLESS:
            headers = Headers(scope=scope)
            if not self._may(headers):
                why = "a page of another site may not call: see MUSICGEN_CORS_ORIGINS"
                body = {"error": {"code": "not_allowed", "message": why}}
                await JSONResponse(body, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _may(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        # Browsers name it in every such call; whoever calls without one is no page.
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        site = headers.get("sec-fetch-site")
        return site in _OWN if site else urlsplit(origin).netloc == headers.get("host")
