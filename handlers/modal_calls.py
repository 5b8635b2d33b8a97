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
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from handlers.call_body import check_values, parse_object, read_body, wait_for_hang_up
from handlers.call_errors import HTTP_CODES, RETRY_SECONDS, ApiError
from handlers.contract import ServedPredictor, find_status
from handlers.reply import build_reply, choose_delivery, format_error
from handlers.serving import Serving
from musicgen.errors import DeviceFault, GenerationCancelled, InvalidRequest, MusicGenError
from musicgen.settings import Settings

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.responses import Response

_HANG_UP = find_status(GenerationCancelled())

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
        self._predictor = predictor
        self._serving = Serving(predictor, settings.input_networks)
        self._delivery = choose_delivery(settings.bucket)
        self._replace_container = replace_container

    async def generate(self, fields: object) -> dict[str, Any]:
        """Return the reply to a call, or {"error": ...}."""
        return (await self._answer(fields))[1]

    def build_web_app(self) -> Starlette:
        """Return the ASGI application of the web address: POST / for a clip, GET / for health."""
        from starlette.applications import Starlette
        from starlette.exceptions import HTTPException
        from starlette.routing import Route

        handlers: Any = {HTTPException: _answer_http_error}
        return Starlette(
            routes=[
                Route("/", self._post, methods=["POST"]),
                Route("/", self._get, methods=["GET"]),
            ],
            exception_handlers=handlers,
        )

    def close(self) -> None:
        """Free the weights."""
        self._predictor.close()

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
        """Answer a call; a caller who hangs up stops the decode."""
        from starlette.requests import ClientDisconnect
        from starlette.responses import JSONResponse, Response

        try:
            body = await read_body(request)
            check_values(body)
            fields = await asyncio.to_thread(parse_object, body)
        except ClientDisconnect:
            return Response(status_code=_HANG_UP)
        except ApiError as error:
            return JSONResponse({"error": f"{error.code}: {error}"}, error.status)
        except InvalidRequest as error:
            return JSONResponse(_build_failure(error), find_status(error))
        answer = asyncio.create_task(self._answer(fields))
        gone = asyncio.create_task(wait_for_hang_up(request))
        try:
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                return Response(status_code=_HANG_UP)
            status, reply = answer.result()
        finally:
            for task in (answer, gone):
                task.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)
        return JSONResponse(reply, status, _advise_retry(status))


async def _answer_http_error(_: Request, error: HTTPException) -> Response:
    """Answer an unknown path or method in the form of the other errors."""
    from starlette.responses import JSONResponse

    code = HTTP_CODES.get(error.status_code, ApiError.code)
    body = {"error": f"{code}: {error.detail}. Send POST / or GET /."}
    return JSONResponse(body, error.status_code, dict(error.headers or {}))


def _advise_retry(status: int) -> dict[str, str]:
    return {"Retry-After": str(RETRY_SECONDS)} if status == 503 else {}


def _build_failure(error: Exception) -> dict[str, Any]:
    # A lone surrogate of the caller cannot be sent.
    return {"error": format_error(error).encode("utf-8", "backslashreplace").decode()}
