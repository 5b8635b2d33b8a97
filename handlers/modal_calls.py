"""Modal's translation: calls of a method and of a web address to requests, results to JSON.

A call brings the fields of a request. The answer is the reply of `handlers.reply`, or
{"error": "code: text"}: an exception would need its class on the caller's machine, and callers in
other languages cannot read one.

| way in | call |
|---|---|
| method | `MusicGenApp().generate.remote({"prompt": "calm piano", "duration": 5})` |
| web address | POST of the same JSON; the error has the status of `handlers.contract` |
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from handlers.contract import ServedPredictor, find_status
from handlers.reply import build_reply, choose_delivery, format_error
from handlers.serving import Serving
from musicgen.errors import DeviceFault, InvalidRequest, MusicGenError
from musicgen.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

BODY_MAX_BYTES = 20_000_000
"""Largest body of the web address, as on the job API."""
TOO_LARGE = (
    f"body_too_large: The body is larger than {BODY_MAX_BYTES // 10**6} MB, the limit. "
    "Send the address of the sound instead."
)
"""The error of the job API and of the model server, with their status 413."""

logger = logging.getLogger(__name__)


def _do_nothing() -> None:
    """Stand in for `replace_container` where none can be replaced."""


class ModalCalls:
    """Calls of one container, as many at once as `predictor` has slots. Never blocks the loop.

    Clips go into the bucket of `settings`, or inside the answer. Cancelling a call stops its
    decode. `replace_container` is called after a device fault: a new container takes the next call.
    """

    def __init__(
        self,
        predictor: ServedPredictor,
        settings: Settings,
        replace_container: Callable[[], object] = _do_nothing,
    ) -> None:
        self._serving = Serving(predictor, settings.input_networks)
        self._delivery = choose_delivery(settings.bucket)
        self._replace_container = replace_container

    async def generate(self, fields: object) -> dict[str, Any]:
        """Return the reply to a call, or {"error": ...}."""
        return (await self._answer(fields))[1]

    def build_web_app(self) -> Starlette:
        """Return the ASGI application of the web address: POST / for a clip, GET / for health."""
        from starlette.applications import Starlette
        from starlette.routing import Route

        return Starlette(
            routes=[
                Route("/", self._post, methods=["POST"]),
                Route("/", self._get, methods=["GET"]),
            ]
        )

    async def _answer(self, fields: object) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the reply."""
        try:
            if not isinstance(fields, Mapping):
                problem = 'must be an object with the fields of a request, as {"prompt": "piano"}'
                raise InvalidRequest("body", problem, value=fields)
            async with self._serving.follow(dict(fields), delivery=self._delivery) as generation:
                result = await generation.result()
            return 200, await asyncio.to_thread(build_reply, result)
        except Exception as error:
            if not isinstance(error, MusicGenError):
                logger.exception("a call failed unexpectedly")
            if isinstance(error, DeviceFault):
                self._replace_container()
            return find_status(error), _build_failure(error)

    async def _get(self, request: Request) -> Response:
        """Answer a health check with the loaded models and their licences."""
        from starlette.responses import JSONResponse

        return JSONResponse(
            {
                "models": list(self._serving.models),
                "licences": self._serving.licences,
                "slots": self._serving.slots,
            }
        )

    async def _post(self, request: Request) -> Response:
        from starlette.responses import JSONResponse

        try:
            body = await _read_body(request)
            if body is None:
                return JSONResponse({"error": TOO_LARGE}, 413)
            fields = _parse(body)
        except InvalidRequest as error:
            return JSONResponse(_build_failure(error), find_status(error))
        status, reply = await self._answer(fields)
        return JSONResponse(reply, status)


async def _read_body(request: Request) -> bytes | None:
    """Return the body, or None if it is too large."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX_BYTES:
            return None
    return bytes(body)


def _parse(body: bytes) -> object:
    """Return the JSON of a body. Raises: `InvalidRequest`."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("body", "must be JSON") from None


def _build_failure(error: Exception) -> dict[str, Any]:
    # A lone surrogate of the caller cannot be sent.
    return {"error": format_error(error).encode("utf-8", "backslashreplace").decode()}
