"""Client of the job API for an event loop; `sync_client` describes the methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Literal, TypeVar, Unpack

import httpx

from musicgen_client.calls import (
    PAGE_ITEMS,
    TIMEOUT_SECONDS,
    AudioFormat,
    Calls,
    JobFilter,
    OnStatus,
    check_completed,
    http_options,
)
from musicgen_client.errors import AudioUnavailable
from musicgen_client.fields import GenerationFields
from musicgen_client.following import JobFollower
from musicgen_client.making import AsyncMakingSounds
from musicgen_client.sending import HTTP_ERRORS, Pause, RetryPolicy, Steps, describe_loss
from musicgen_client.values import (
    DeletedCounts,
    Job,
    JobClip,
    JobClipPart,
    JobPage,
    Model,
    ModelList,
    State,
    StoredUpload,
    Upload,
)

T = TypeVar("T")


class AsyncMusicGenClient(AsyncMakingSounds):
    """Client of a job API for an event loop; its methods are those of `MusicGenClient`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float | httpx.Timeout = TIMEOUT_SECONDS,
        *,
        policy: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(**http_options(url, key, timeout, headers))
        self._policy = policy or RetryPolicy()
        self._calls = Calls(self._http.build_request, self._policy)

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
        """Submit a job and return its id.

        A `Path` or bytes in `input_audio` is uploaded first. The same `idempotency_key` finds the
        same job again.
        """
        return await self._run(self._calls.submit(fields, idempotency_key))

    async def generate(
        self,
        *,
        tell: OnStatus | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[GenerationFields],
    ) -> Job:
        """Submit a job and wait until it is completed: `submit`, then `wait`."""
        return await self._run(self._calls.generate(fields, idempotency_key, tell, timeout))

    async def wait(
        self, job_id: str, tell: OnStatus | None = None, *, timeout: float | None = None
    ) -> Job:
        """Wait until a job is completed; `tell` receives every state on the way.

        Raises: `JobFailed`, `JobCancelled`, `WaitTimeout`.
        """
        return await self._run(self._calls.wait(job_id, tell, timeout))

    async def status(self, job_id: str) -> Job:
        """Return the state of a job."""
        return await self._run(self._calls.status(job_id))

    async def events(self, job_id: str) -> AsyncIterator[Job]:
        """Yield each state of a job until it has ended, across lost connections."""
        async with aclosing(self._follow(job_id)) as states:
            async for job in states:
                yield job

    async def _follow(self, job_id: str) -> AsyncGenerator[Job, None]:
        follower = JobFollower(self._policy)
        while True:
            loss: Exception | None = None
            follower.start()
            try:
                answer = await self._run(self._calls.open_events(job_id), is_stream=True)
                async with aclosing(answer):
                    async for line in answer.aiter_lines():
                        job = follower.read(line)
                        if job is not None:
                            yield job
                            if job.is_final:
                                return
            except HTTP_ERRORS as error:
                loss = error
            await asyncio.sleep(follower.lose(loss))

    async def stream(self, job_id: str, clip: int = 1) -> AsyncIterator[bytes]:
        """Yield the live sound of a job as it is made, from its beginning; wait for its start."""
        answer = await self._open_sound(job_id, clip)
        async with aclosing(answer):
            try:
                async for block in answer.aiter_bytes():
                    yield block
            except HTTP_ERRORS as error:
                raise describe_loss(error) from error

    async def _open_sound(self, job_id: str, clip: int) -> httpx.Response:
        async with aclosing(self._follow(job_id)) as states:
            async for job in states:
                if job.is_final:
                    check_completed(job)
                elif job.stream_url is None:
                    continue
                try:
                    steps = self._calls.open_stream(job_id, clip)
                    return await self._run(steps, is_stream=True)
                except AudioUnavailable:
                    # It has ended meanwhile, or is being made again.
                    if job.is_final:
                        raise
        raise AssertionError("unreachable: the last state is final")

    async def jobs(
        self,
        status: State | None = None,
        *,
        favourite: bool | None = None,
        search: str | None = None,
    ) -> AsyncIterator[Job]:
        """Yield your jobs, newest first, page by page.

        `search`: words, each the beginning of a word in a job's name or prompts.
        """
        chosen = JobFilter(status, favourite, search)
        page = await self._run(self._calls.jobs(PAGE_ITEMS, None, chosen))
        for item in page.jobs:
            yield item
        while page.next is not None:
            page = await self._run(self._calls.jobs(PAGE_ITEMS, page.next, chosen))
            for item in page.jobs:
                yield item

    async def list_jobs(
        self,
        *,
        limit: int = 20,
        before: str | None = None,
        status: State | None = None,
        favourite: bool | None = None,
        search: str | None = None,
    ) -> JobPage:
        """Return a page of your jobs, newest first."""
        chosen = JobFilter(status, favourite, search)
        return await self._run(self._calls.jobs(limit, before, chosen))

    async def change(
        self, job_id: str, *, name: str | None = None, favourite: bool | None = None
    ) -> Job:
        """Name a job, or keep it as a favourite; None leaves either as it is, "" takes the name."""
        return await self._run(self._calls.keeping.change(job_id, name, favourite))

    async def zip(self, job_ids: Sequence[str]) -> bytes:
        """Return the clips of several completed jobs as one zip file."""
        return await self._run(self._calls.keeping.zip(job_ids))

    async def delete(self, job_id: str) -> None:
        """Delete a job with its files, an unfinished one after cancelling it."""
        await self._run(self._calls.keeping.delete(job_id))

    async def delete_everything(self) -> DeletedCounts:
        """Delete all your jobs and uploads, favourites and unfinished jobs too."""
        return await self._run(self._calls.keeping.delete_everything())

    async def uploads(self) -> AsyncIterator[StoredUpload]:
        """Yield your uploads, newest first, page by page."""
        page = await self._run(self._calls.keeping.uploads(PAGE_ITEMS, None))
        for item in page.uploads:
            yield item
        while page.next is not None:
            page = await self._run(self._calls.keeping.uploads(PAGE_ITEMS, page.next))
            for item in page.uploads:
                yield item

    async def delete_upload(self, upload_id: str) -> None:
        """Delete an upload. Raises: `Conflict` while an unfinished job needs it."""
        await self._run(self._calls.keeping.delete_upload(upload_id))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a queued or running job and return its state."""
        return await self._run(self._calls.cancel(job_id))

    async def upload(self, sound: Path | bytes) -> Upload:
        """Upload an audio file for `input_audio`."""
        return await self._run(self._calls.upload(sound))

    async def audio(
        self,
        clip: JobClip | JobClipPart | str,
        audio_format: AudioFormat | None = None,
        byte_range: tuple[int, int | None] | None = None,
    ) -> bytes:
        """Return the file of a clip or a part of it, converted to `audio_format` if given.

        A text names a clip: JOB.wav, JOB-2.mp3. `byte_range`: first and last byte, None for the
        end of the file.
        """
        return await self._run(self._calls.audio(clip, audio_format, byte_range))

    async def save(
        self, job: Job, output: Path, audio_format: AudioFormat | None = None
    ) -> list[Path]:
        """Write the clips of a finished job and return their paths.

        One clip is written to `output`, several to `output` with -1, -2 and so on. Their stems and
        notes lie beside them: music-drums.wav, music.mid.
        Raises: `CannotWrite`.
        """
        return await self._run(self._calls.save(job, output, audio_format))

    async def models(self) -> ModelList:
        """Return the server's models with their licences, and its default."""
        return await self._run(self._calls.models())

    async def model(self, name: str) -> Model:
        """Return one model, by any of its names."""
        return await self._run(self._calls.model(name))

    async def load(self, model: str) -> Literal["loading", "loaded"]:
        """Have the workers load a model; it is the default once a worker has it."""
        return await self._run(self._calls.load(model))

    async def _run(self, steps: Steps[T], *, is_stream: bool = False) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    response = await self._take(step, is_stream)
                except HTTP_ERRORS as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _take(self, step: httpx.Request | Pause, is_stream: bool) -> httpx.Response | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        response = await self._http.send(step, stream=is_stream)
        if is_stream and not response.is_success:
            await response.aread()
        return response
