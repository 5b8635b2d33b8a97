"""Synchronous and asynchronous client of the job API. Imports no torch.

with MusicGenClient("https://music.example", key=...) as client:
    job = client.generate(prompt="calm piano", duration=20)
    client.save(job, Path("piano.wav"))

Every method raises `RemoteError`, or its subclass `NotDone` if the server answered: `NotDone` has
the HTTP status and the server's stable error code.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from musicgen.client.protocol import (
    TIMEOUT_SECONDS,
    Calls,
    Job,
    JobClip,
    NotDone,
    OnStatus,
    Pause,
    Steps,
    http_options,
)
from musicgen.http_errors import list_http_errors

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from musicgen.client.fields import GenerationFields

__all__ = ["AsyncMusicGenClient", "Job", "JobClip", "MusicGenClient", "NotDone"]
T = TypeVar("T")


class MusicGenClient:
    """Client of a job API; every method blocks until it has its answer."""

    def __init__(self, url: str, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self._http = httpx.Client(**http_options(url, key, timeout))
        self._calls = Calls(self._http.build_request)

    def __enter__(self) -> MusicGenClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self, *, idempotency_key: str | None = None, **fields: Unpack[GenerationFields]
    ) -> str:
        """Submit a job and return its id.

        `fields` are those of a request; a `Path` in `input_audio` is uploaded.
        """
        return self._run(self._calls.submit(fields, idempotency_key))

    def generate(self, *, tell: OnStatus | None = None, **fields: Unpack[GenerationFields]) -> Job:
        """Submit a job and wait until it is completed.

        Raises: `GenerationCancelled` for a cancelled job.
        """
        return self._run(self._calls.generate(fields, tell))

    def wait(self, job_id: str, tell: OnStatus | None = None) -> Job:
        """Wait until a job is completed; `tell` receives every state on the way.

        Raises: `GenerationCancelled` for a cancelled job.
        """
        return self._run(self._calls.wait(job_id, tell))

    def status(self, job_id: str) -> Job:
        """Return the state of a job."""
        return self._run(self._calls.status(job_id))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and return its state."""
        return self._run(self._calls.cancel(job_id))

    def audio(self, clip: JobClip) -> bytes:
        """Return the audio file of a clip."""
        return self._run(self._calls.audio(clip))

    def save(self, job: Job, output: Path) -> list[Path]:
        """Write the clips of a finished job and return their paths.

        One clip is written to `output`, several to `output` with -1, -2 and so on.
        Raises: `NotWritable`.
        """
        return self._run(self._calls.save(job, output))

    def models(self) -> dict[str, Any]:
        """Return the server's models and its default."""
        return self._run(self._calls.models())

    def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    response = self._take(step)
                except list_http_errors() as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: httpx.Request | Pause) -> httpx.Response | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        return self._http.send(step)


class AsyncMusicGenClient:
    """Client of a job API for an event loop; the methods are those of `MusicGenClient`."""

    def __init__(self, url: str, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self._http = httpx.AsyncClient(**http_options(url, key, timeout))
        self._calls = Calls(self._http.build_request)

    async def __aenter__(self) -> AsyncMusicGenClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(
        self, *, idempotency_key: str | None = None, **fields: Unpack[GenerationFields]
    ) -> str:
        """Submit a job and return its id."""
        return await self._run(self._calls.submit(fields, idempotency_key))

    async def generate(
        self, *, tell: OnStatus | None = None, **fields: Unpack[GenerationFields]
    ) -> Job:
        """Submit a job and wait until it is completed."""
        return await self._run(self._calls.generate(fields, tell))

    async def wait(self, job_id: str, tell: OnStatus | None = None) -> Job:
        """Wait until a job is completed."""
        return await self._run(self._calls.wait(job_id, tell))

    async def status(self, job_id: str) -> Job:
        """Return the state of a job."""
        return await self._run(self._calls.status(job_id))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job and return its state."""
        return await self._run(self._calls.cancel(job_id))

    async def audio(self, clip: JobClip) -> bytes:
        """Return the audio file of a clip."""
        return await self._run(self._calls.audio(clip))

    async def save(self, job: Job, output: Path) -> list[Path]:
        """Write the clips of a finished job and return their paths."""
        return await self._run(self._calls.save(job, output))

    async def models(self) -> dict[str, Any]:
        """Return the server's models and its default."""
        return await self._run(self._calls.models())

    async def _run(self, steps: Steps[T]) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    response = await self._take(step)
                except list_http_errors() as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _take(self, step: httpx.Request | Pause) -> httpx.Response | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        return await self._http.send(step)
