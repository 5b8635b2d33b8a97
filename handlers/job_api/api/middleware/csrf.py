"""ASGI middleware to reject cross-site requests with effects (CSRF protection).

A browser sends forms and plain text to any site without a preflight request, with the cookies of
that site. Without this check, any visited web page could submit jobs to a server without keys.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from handlers.job_api.api.middleware.error_body import build_error_body

_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_OWN_SITE = ("same-origin", "none")


class CsrfProtection:
    """Filter of requests from web pages. `origins`: other sites with permission to call."""

    def __init__(self, app: ASGIApp, origins: tuple[str, ...]) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer 403 to a cross-site request."""
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            if not self._is_allowed(headers):
                message = (
                    "Web pages of other sites may not call this API. "
                    "Add their origin to MUSICGEN_CORS_ORIGINS to allow them."
                )
                body = build_error_body(403, "not_allowed", message)
                await JSONResponse(body, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        # Browsers send Origin with every such request; other programs need no check.
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        site = headers.get("sec-fetch-site")
        return site in _OWN_SITE if site else urlsplit(origin).netloc == headers.get("host")
