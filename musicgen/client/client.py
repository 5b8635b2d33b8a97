"""Asking a job API from Python, waiting or in an event loop. Imports no torch.

with MusicGenClient("https://music.example", key=...) as client:
    job = client.generate(prompt="calm piano", duration=20)
    client.save(job, Path("piano.wav"))
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import httpx

from musicgen.client.protocol import (
    TIMEOUT_SECONDS,
    Calls,
    Job,
    JobClip,
    NotDone,
    Sleep,
    Steps,
    Told,
    http_options,
    http_request,
    whole,
)
from musicgen.errors import NotWritable

__all__ = ["AsyncMusicGenClient", "Job", "JobClip", "MusicGenClient", "NotDone"]
T = TypeVar("T")


def _save(clips: list[bytes], job: Job, output: Path) -> list[Path]:
    """Writes the clips of `job`: to `output`, or `output` with -1, -2 and so on for several."""
    several = len(job.clips) > 1
    paths = [
        output.with_stem(f"{output.stem}-{number}") if several else output
        for number in range(1, len(clips) + 1)
    ]
    for path, data in zip(paths, clips, strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise NotWritable(f"cannot write {path}: {error.strerror}") from error
    return paths


class MusicGenClient:
    """Waits for each answer. Raises, from every method: `RemoteError`; `NotDone`, which is one, has
    the status and the stable code of a server that answered."""

    def __init__(self, url: str, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self._http = httpx.Client(**http_options(url, key, timeout))
        self._calls = Calls()

    def __enter__(self) -> MusicGenClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def submit(self, *, idempotency_key: str | None = None, **fields: Any) -> str:
        """The id of a new job. `fields` are those of a request; `input_audio` may be a `Path`,
        which is uploaded."""
        return self._run(self._calls.submit(fields, idempotency_key))

    def generate(self, *, tell: Told | None = None, **fields: Any) -> Job:
        """Submits and waits. Raises: `GenerationCancelled` for a job that was cancelled."""
        return self._run(self._calls.generate(fields, tell))

    def wait(self, job_id: str, tell: Told | None = None) -> Job:
        return self._run(self._calls.wait(job_id, tell))

    def status(self, job_id: str) -> Job:
        return self._run(self._calls.status(job_id))

    def cancel(self, job_id: str) -> Job:
        return self._run(self._calls.cancel(job_id))

    def audio(self, clip: JobClip) -> bytes:
        return self._run(self._calls.audio(clip))

    def save(self, job: Job, output: Path) -> list[Path]:
        """The files that the clips of a finished job were written to."""
        return _save([self.audio(clip) for clip in job.clips], job, output)

    def models(self) -> dict[str, Any]:
        return self._run(self._calls.models())

    def _run(self, steps: Steps[T]) -> T:
        steps = whole(steps)
        answer: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                wanted = steps.send(answer)
                answer = None
                if isinstance(wanted, Sleep):
                    time.sleep(wanted.seconds)
                    continue
                try:
                    answer = self._http.request(**http_request(wanted))
                except httpx.TransportError as error:
                    answer = error
        except StopIteration as end:
            result: T = end.value
            return result


class AsyncMusicGenClient:
    """The same in an event loop."""

    def __init__(self, url: str, key: str | None = None, timeout: float = TIMEOUT_SECONDS) -> None:
        self._http = httpx.AsyncClient(**http_options(url, key, timeout))
        self._calls = Calls()

    async def __aenter__(self) -> AsyncMusicGenClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def submit(self, *, idempotency_key: str | None = None, **fields: Any) -> str:
        return await self._run(self._calls.submit(fields, idempotency_key))

    async def generate(self, *, tell: Told | None = None, **fields: Any) -> Job:
        return await self._run(self._calls.generate(fields, tell))

    async def wait(self, job_id: str, tell: Told | None = None) -> Job:
        return await self._run(self._calls.wait(job_id, tell))

    async def status(self, job_id: str) -> Job:
        return await self._run(self._calls.status(job_id))

    async def cancel(self, job_id: str) -> Job:
        return await self._run(self._calls.cancel(job_id))

    async def audio(self, clip: JobClip) -> bytes:
        return await self._run(self._calls.audio(clip))

    async def save(self, job: Job, output: Path) -> list[Path]:
        return _save([await self.audio(clip) for clip in job.clips], job, output)

    async def models(self) -> dict[str, Any]:
        return await self._run(self._calls.models())

    async def _run(self, steps: Steps[T]) -> T:
        steps = whole(steps)
        answer: httpx.Response | httpx.TransportError | None = None
        try:
            while True:
                wanted = steps.send(answer)
                answer = None
                if isinstance(wanted, Sleep):
                    await asyncio.sleep(wanted.seconds)
                    continue
                try:
                    answer = await self._http.request(**http_request(wanted))
                except httpx.TransportError as error:
                    answer = error
        except StopIteration as end:
            result: T = end.value
            return result
