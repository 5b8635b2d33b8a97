"""Synchronous client of the job API.

with MusicGenClient("https://music.example", key=...) as client:
    job = client.generate(prompt="calm piano", duration=20)
    client.save(job, Path("piano.wav"))

Every method raises a `MusicGenClientError`; `errors` has the tree.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
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
from musicgen_client.making import MakingSounds
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


class MusicGenClient(MakingSounds):
    """Client of a job API; every method blocks until it has its answer.

    `key`: an API key, None for a server without keys. `timeout`: seconds to connect and between
    two parts of an answer. `policy`: repetitions of lost and refused calls. `headers`: sent with
    each call, for example `X-Request-ID`.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float | httpx.Timeout = TIMEOUT_SECONDS,
        *,
        policy: RetryPolicy | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._http = httpx.Client(**http_options(url, key, timeout, headers))
        self._policy = policy or RetryPolicy()
        self._calls = Calls(self._http.build_request, self._policy)

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

        A `Path` or bytes in `input_audio` is uploaded first. The same `idempotency_key` with the
        same fields finds the same job again; then upload a sound once, and send its `input_audio`.
        """
        return self._run(self._calls.submit(fields, idempotency_key))

    def generate(
        self,
        *,
        tell: OnStatus | None = None,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        **fields: Unpack[GenerationFields],
    ) -> Job:
        """Submit a job and wait until it is completed: `submit`, then `wait`."""
        return self._run(self._calls.generate(fields, idempotency_key, tell, timeout))

    def wait(
        self, job_id: str, tell: OnStatus | None = None, *, timeout: float | None = None
    ) -> Job:
        """Wait until a job is completed; `tell` receives every state on the way.

        Raises: `JobFailed`, `JobCancelled`, `WaitTimeout`.
        """
        return self._run(self._calls.wait(job_id, tell, timeout))

    def status(self, job_id: str) -> Job:
        """Return the state of a job."""
        return self._run(self._calls.status(job_id))

    def events(self, job_id: str) -> Iterator[Job]:
        """Yield each state of a job until it has ended, across lost connections."""
        yield from self._follow(job_id)

    def _follow(self, job_id: str) -> Generator[Job, None, None]:
        follower = JobFollower(self._policy)
        while True:
            loss: Exception | None = None
            follower.start()
            try:
                with closing(self._run(self._calls.open_events(job_id), is_stream=True)) as answer:
                    for line in answer.iter_lines():
                        job = follower.read(line)
                        if job is not None:
                            yield job
                            if job.is_final:
                                return
            except HTTP_ERRORS as error:
                loss = error
            time.sleep(follower.lose(loss))

    def stream(self, job_id: str, clip: int = 1) -> Iterator[bytes]:
        """Yield the live sound of a job as it is made, from its beginning; wait for its start.

        Of a completed job, and of a format that cannot be streamed, the clip. `clip` counts from 1.
        Raises: `JobFailed`, `JobCancelled`.
        """
        answer = self._open_sound(job_id, clip)
        with closing(answer):
            try:
                yield from answer.iter_bytes()
            except HTTP_ERRORS as error:
                raise describe_loss(error) from error

    def _open_sound(self, job_id: str, clip: int) -> httpx.Response:
        with closing(self._follow(job_id)) as states:
            for job in states:
                if job.is_final:
                    check_completed(job)
                elif job.stream_url is None:
                    continue
                try:
                    return self._run(self._calls.open_stream(job_id, clip), is_stream=True)
                except AudioUnavailable:
                    # It has ended meanwhile, or is being made again.
                    if job.is_final:
                        raise
        raise AssertionError("unreachable: the last state is final")

    def jobs(
        self,
        status: State | None = None,
        *,
        favourite: bool | None = None,
        search: str | None = None,
    ) -> Iterator[Job]:
        """Yield your jobs, newest first, page by page.

        `search`: words, each the beginning of a word in a job's name or prompts.
        """
        chosen = JobFilter(status, favourite, search)
        page = self._run(self._calls.jobs(PAGE_ITEMS, None, chosen))
        yield from page.jobs
        while page.next is not None:
            page = self._run(self._calls.jobs(PAGE_ITEMS, page.next, chosen))
            yield from page.jobs

    def list_jobs(
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
        return self._run(self._calls.jobs(limit, before, chosen))

    def change(self, job_id: str, *, name: str | None = None, favourite: bool | None = None) -> Job:
        """Name a job, or keep it as a favourite; None leaves either as it is, "" takes the name."""
        return self._run(self._calls.keeping.change(job_id, name, favourite))

    def zip(self, job_ids: Sequence[str]) -> bytes:
        """Return the clips of several completed jobs as one zip file."""
        return self._run(self._calls.keeping.zip(job_ids))

    def delete(self, job_id: str) -> None:
        """Delete a job with its files, an unfinished one after cancelling it."""
        self._run(self._calls.keeping.delete(job_id))

    def delete_everything(self) -> DeletedCounts:
        """Delete all your jobs and uploads, favourites and unfinished jobs too."""
        return self._run(self._calls.keeping.delete_everything())

    def uploads(self) -> Iterator[StoredUpload]:
        """Yield your uploads, newest first, page by page."""
        page = self._run(self._calls.keeping.uploads(PAGE_ITEMS, None))
        yield from page.uploads
        while page.next is not None:
            page = self._run(self._calls.keeping.uploads(PAGE_ITEMS, page.next))
            yield from page.uploads

    def delete_upload(self, upload_id: str) -> None:
        """Delete an upload. Raises: `Conflict` while an unfinished job needs it."""
        self._run(self._calls.keeping.delete_upload(upload_id))

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued or running job and return its state."""
        return self._run(self._calls.cancel(job_id))

    def upload(self, sound: Path | bytes) -> Upload:
        """Upload an audio file for `input_audio`."""
        return self._run(self._calls.upload(sound))

    def audio(
        self,
        clip: JobClip | JobClipPart | str,
        audio_format: AudioFormat | None = None,
        byte_range: tuple[int, int | None] | None = None,
    ) -> bytes:
        """Return the file of a clip or a part of it, converted to `audio_format` if given.

        A text names a clip: JOB.wav, JOB-2.mp3. `byte_range`: first and last byte, None for the
        end of the file.
        """
        return self._run(self._calls.audio(clip, audio_format, byte_range))

    def save(self, job: Job, output: Path, audio_format: AudioFormat | None = None) -> list[Path]:
        """Write the clips of a finished job and return their paths.

        One clip is written to `output`, several to `output` with -1, -2 and so on. Their stems and
        notes lie beside them: music-drums.wav, music.mid.
        Raises: `CannotWrite`.
        """
        return self._run(self._calls.save(job, output, audio_format))

    def models(self) -> ModelList:
        """Return the server's models with their licences, and its default."""
        return self._run(self._calls.models())

    def model(self, name: str) -> Model:
        """Return one model, by any of its names."""
        return self._run(self._calls.model(name))

    def load(self, model: str) -> Literal["loading", "loaded"]:
        """Have the workers load a model; it is the default once a worker has it."""
        return self._run(self._calls.load(model))

    def _run(self, steps: Steps[T], *, is_stream: bool = False) -> T:
        try:
            step = next(steps)
            while True:
                try:
                    response = self._take(step, is_stream)
                except HTTP_ERRORS as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            result: T = end.value
            return result

    def _take(self, step: httpx.Request | Pause, is_stream: bool) -> httpx.Response | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        response = self._http.send(step, stream=is_stream)
        if is_stream and not response.is_success:
            response.read()
        return response
