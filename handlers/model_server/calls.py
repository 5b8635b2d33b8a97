"""Calls as running generations: as many as the server takes, each until its end or a reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from handlers.contract import ServedPredictor
from handlers.job_api.errors import ServerBusy
from handlers.model_server.errors import CallTooLong, StoppedByServer
from handlers.serving import Serving
from musicgen.errors import DeviceFault, GenerationCancelled
from musicgen.errors.counts import format_count
from musicgen.result import GenerationResult
from musicgen.settings import Delivery, ModelServerSettings, Settings

UPLOAD_MARGIN = 2.0
"""Seconds between the end of an upload and that of its call, for the answer about its failure."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class CallLife:
    """Ends of one call: `gone` once its caller hangs up, `end`, a time of `time.monotonic`."""

    gone: asyncio.Future[Any]
    end: float

    @property
    def remaining(self) -> float:
        """Seconds until the end."""
        return max(0.0, self.end - time.monotonic())

    @property
    def upload_end(self) -> float:
        """End of uploads."""
        return self.end - min(UPLOAD_MARGIN, self.remaining / 4)


class ModelCalls:
    """Calls of one loaded model. The requests of all calls share the predictor's batch.

    `seconds` and `stream_seconds`: longest time of a call, and of one with live sound.
    `lost_device`: set after a fault of the device; only a new process can work again.
    """

    def __init__(
        self, predictor: ServedPredictor, settings: Settings, server: ModelServerSettings
    ) -> None:
        self._serving = Serving(predictor, settings.input_networks)
        self._room = predictor.slots + server.calls_waiting
        self.seconds, self.stream_seconds = server.call_seconds, server.stream_seconds
        self._stops = asyncio.Event()
        self._open = 0
        self.lost_device = asyncio.Event()

    @property
    def slots(self) -> int:
        """Number of requests decoded at once."""
        return self._serving.slots

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a call for the time of this context. Raises: `ServerBusy`."""
        if self._open >= self._room:
            calls = format_count(self._open, "call")
            raise ServerBusy(f"The server has {calls}, its limit. Try again later.", 10)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

    def stop(self) -> None:
        """End the running calls with `StoppedByServer`."""
        self._stops.set()

    async def run_all(
        self,
        items: Sequence[Mapping[str, Any]],
        delivery: Delivery,
        life: CallLife,
    ) -> list[GenerationResult]:
        """Run the requests of a call side by side. The first error stops the others.

        Raises: the errors of `run`.
        """
        tasks = [asyncio.create_task(self.run(item, delivery, life)) for item in items]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def run(
        self, fields: Mapping[str, Any], delivery: Delivery, life: CallLife
    ) -> GenerationResult:
        """Run one request. The end of its call stops the decode.

        Raises: the errors of a generation, `StoppedByServer`, `CallTooLong`.
        """
        try:
            delivery = replace(delivery, until=life.upload_end)
            async with self._serving.follow(fields, delivery=delivery) as generation:
                return await self._wait(generation.result(), life, self.seconds)
        except DeviceFault:
            self.lost_device.set()
            raise

    async def stream(
        self,
        fields: Mapping[str, Any],
        job_id: str,
        delivery: Delivery,
        life: CallLife,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a request's only clip as one file, while it is made.

        Raises: the errors of `run`, also after some pieces.
        """
        try:
            delivery = replace(delivery, until=life.upload_end)
            async with self._serving.follow(
                fields, job_id, stream="joined", delivery=delivery
            ) as generation:
                pieces = generation.read_audio()
                while piece := await self._wait(_read_next(pieces), life, self.stream_seconds):
                    yield piece
        except DeviceFault:
            self.lost_device.set()
            raise

    async def _wait(
        self, work: Coroutine[Any, Any, Result], life: CallLife, limit: float
    ) -> Result:
        """Return the result of `work`, or raise the reason to stop waiting for it."""
        task = asyncio.create_task(work)
        stops = asyncio.create_task(self._stops.wait())
        try:
            await asyncio.wait(
                {task, stops, life.gone},
                timeout=life.remaining,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if task.done():
                return task.result()
            if life.gone.done():
                raise GenerationCancelled("The caller hung up.")
            raise StoppedByServer if stops.done() else CallTooLong(limit)
        finally:
            stops.cancel()
            task.cancel()


async def _read_next(pieces: AsyncIterator[bytes]) -> bytes:
    """Return the next piece, and nothing after the last one."""
    return await anext(pieces, b"")
