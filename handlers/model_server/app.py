"""ASGI application of the model server, answering health checks before the model is loaded."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from handlers.call_body import BODY_MAX_BYTES, wait_for_hang_up
from handlers.call_errors import HTTP_CODES, ApiError
from handlers.contract import ServedPredictor, find_status
from handlers.job_api.errors import build_error_body
from handlers.model_server import answers
from handlers.model_server.bodies import Call, read_call
from handlers.model_server.calls import CallLife, ModelCalls
from handlers.model_server.errors import NotReady
from handlers.model_server.streams import LiveSound
from handlers.reply import LIVE_TYPES, build_reply, choose_delivery
from musicgen.errors import GenerationCancelled, InvalidRequest, MusicGenError
from musicgen.request import GenerationRequest
from musicgen.request.fields import to_integer
from musicgen.request.limits import RANDOM_SEED, SEED_MAX
from musicgen.settings import Delivery, ModelServerSettings, Settings

BATCH_MAX_MB = 100
"""SageMaker's limit of payload size times concurrent calls of a batch transform."""
UNSENT_MAX_BYTES = 10**9
"""Limit of the whole clip behind a stream, which is encoded but not sent without a bucket."""
_HANG_UP = find_status(GenerationCancelled())

logger = logging.getLogger(__name__)


class ModelServer:
    """Routes of one model, which `open` hands over once it is loaded."""

    def __init__(self, settings: Settings, server: ModelServerSettings) -> None:
        self._settings, self._server = settings, server
        self._bucket = choose_delivery(settings.bucket)
        self._calls: ModelCalls | None = None
        self._is_stopping = False

    def open(self, predictor: ServedPredictor) -> ModelCalls:
        """Take calls for `predictor`, from the event loop."""
        self._calls = ModelCalls(predictor, self._settings, self._server)
        return self._calls

    def begin_stop(self) -> None:
        """Refuse new calls, and end the running ones in time for their answers."""
        self._is_stopping = True
        if self._calls is not None:
            grace = max(0.5, self._server.stop_seconds - 1.5)
            asyncio.get_running_loop().call_later(grace, self._calls.stop)

    @property
    def is_ready(self) -> bool:
        """Whether calls are taken."""
        calls = self._calls
        return not (calls is None or self._is_stopping or calls.lost_device.is_set())

    async def ping(self, _: Request) -> Response:
        """Answer a health check."""
        state = "ready" if self.is_ready else "not ready"
        return JSONResponse({"status": state}, 200 if self.is_ready else 503)

    async def execution_parameters(self, _: Request) -> Response:
        """Answer SageMaker's question for the limits of a batch transform."""
        slots = self._find_calls().slots
        payload = min(BODY_MAX_BYTES // 1_000_000, max(1, BATCH_MAX_MB // slots))
        content = {"MaxConcurrentTransforms": slots, "BatchStrategy": "SINGLE_RECORD"}
        return JSONResponse({**content, "MaxPayloadInMB": payload})

    async def invoke(self, request: Request) -> Response:
        """Answer a call."""
        began = time.monotonic()
        try:
            calls = self._find_calls()
            async with AsyncExitStack() as held:
                held.enter_context(calls.admit())
                response = await self._answer(request, calls, held, began)
        except ClientDisconnect:
            # Nobody reads it.
            return Response(status_code=_HANG_UP)
        except Exception as error:
            if not isinstance(error, MusicGenError) and not hasattr(error, "status"):
                logger.exception("a call failed unexpectedly")
            response = answers.build_failure(error)
        seconds = time.monotonic() - began
        logger.info("call answered status=%d seconds=%.1f", response.status_code, seconds)
        return response

    async def _answer(
        self, request: Request, calls: ModelCalls, held: AsyncExitStack, began: float
    ) -> Response:
        """Return the answer; live sound keeps what is in `held` until its end."""
        call = await read_call(request)
        most = self._server.answer_bytes
        accept = request.headers.get("accept")
        gone = asyncio.ensure_future(wait_for_hang_up(request))
        held.callback(gone.cancel)
        seconds = calls.stream_seconds if call.is_streamed else calls.seconds
        life = CallLife(gone, began + seconds)
        if call.shape == "lines":
            answers.require_json(accept)
            return answers.build_lines(await self._run_lines(call, calls, life), most)
        items = [item for item in call.items if isinstance(item, dict)]
        if call.shape == "instances":
            answers.require_json(accept)
            results = await calls.run_all(items, self._deliver(len(items)), life)
            content = {"predictions": [build_reply(result) for result in results]}
            return await asyncio.to_thread(answers.build_json, content, most)
        fields = items[0]
        form = answers.choose_audio(accept, fields)
        if call.is_streamed:
            fields = fields if form is None else {**fields, "output_format": form}
            return await self._open_stream(fields, calls, life, held)
        if form is None:
            result = await calls.run(fields, self._deliver(1), life)
            return await asyncio.to_thread(answers.build_json, build_reply(result), most)
        _check_one_clip(fields)
        delivery = Delivery(None, inline_bytes=most)
        result = await calls.run({**fields, "output_format": form}, delivery, life)
        return await asyncio.to_thread(answers.build_audio, result, most)

    async def _open_stream(
        self,
        fields: dict[str, Any],
        calls: ModelCalls,
        life: CallLife,
        held: AsyncExitStack,
    ) -> Response:
        """Return live sound once its first piece is there, so that an early error is an error."""
        _check_one_clip(fields)
        job_id = uuid.uuid4().hex
        # The headers have the seed, so it is chosen before the music is made.
        seed = to_integer(fields.get("seed"))
        if seed in (None, RANDOM_SEED):
            seed = secrets.randbelow(SEED_MAX + 1)
        fields = {**fields, "seed": seed}
        delivery = self._bucket
        if delivery.bucket is None:
            delivery = Delivery(None, inline_bytes=UNSENT_MAX_BYTES)
        pieces = calls.stream(fields, job_id, delivery, life)
        try:
            first = await anext(pieces, b"")
        except BaseException:
            await pieces.aclose()
            raise
        kind = LIVE_TYPES[fields.get("output_format") or GenerationRequest.output_format]
        facts = answers.build_attributes({"job_id": job_id, "seed": seed})
        return LiveSound(first, pieces, held.pop_all(), life.remaining, kind, facts)

    async def _run_lines(self, call: Call, calls: ModelCalls, life: CallLife) -> list[Any]:
        """Return each line's reply or error; one line's error does not stop the others."""
        delivery = self._deliver(len(call.items))
        runs = [calls.run(item, delivery, life) for item in call.items if isinstance(item, dict)]
        outcomes = iter(await asyncio.gather(*runs, return_exceptions=True))
        return [
            answers.build_item(next(outcomes) if isinstance(item, dict) else item)
            for item in call.items
        ]

    def _deliver(self, number: int) -> Delivery:
        """Return the delivery of each of `number` requests with one answer."""
        if self._bucket.bucket is not None:
            return self._bucket
        room = max(1, self._server.answer_bytes - answers.JSON_OVERHEAD)
        return Delivery(None, inline_bytes=max(1, room * 3 // 4 // number))

    def _find_calls(self) -> ModelCalls:
        if self._calls is None or not self.is_ready:
            text = "The server stops." if self._is_stopping else "The model is being loaded."
            raise NotReady(f"{text} Send the same call again later.")
        return self._calls


def make_app(server: ModelServer, lifespan: Any, settings: ModelServerSettings) -> Starlette:
    """Return the application. `lifespan`: asynchronous context of its running time."""
    ping, predict = settings.health_route or "/ping", settings.predict_route or "/invocations"
    routes = [
        *(Route(path, server.ping, methods=["GET"]) for path in sorted({"/ping", ping})),
        *(
            Route(path, server.invoke, methods=["POST"])
            for path in sorted({"/invocations", predict})
        ),
        Route("/execution-parameters", server.execution_parameters, methods=["GET"]),
    ]

    @asynccontextmanager
    async def run(_: Starlette) -> AsyncIterator[None]:
        async with lifespan():
            yield

    advice = f"Send POST {predict} or GET {ping}."

    async def answer_http_error(_: Request, error: HTTPException) -> Response:
        code = HTTP_CODES.get(error.status_code, ApiError.code)
        body = build_error_body(error.status_code, code, f"{error.detail}. {advice}")
        return JSONResponse(body, error.status_code, dict(error.headers or {}))

    handlers: Any = {HTTPException: answer_http_error, NotReady: _answer_failure}
    app = Starlette(routes=routes, lifespan=run, exception_handlers=handlers)
    # Behind a platform a redirect leads nowhere.
    app.router.redirect_slashes = False
    return app


async def _answer_failure(_: Request, error: Exception) -> Response:
    return answers.build_failure(error)


def _check_one_clip(fields: dict[str, Any]) -> None:
    """Refuse several clips in an answer that is one file. Raises: `InvalidRequest`."""
    if fields.get("variations") not in (None, 1):
        raise InvalidRequest(
            "variations", "must be 1 for an answer in audio", advice="Accept application/json."
        )
    for name in ("prompts", "stems", "midi"):
        if fields.get(name):
            raise InvalidRequest(
                name, "cannot be answered in audio", advice="Accept application/json."
            )
