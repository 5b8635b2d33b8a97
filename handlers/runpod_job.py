"""RunPod's jobs to `GenerationRequest`s, and what became of them as the SDK wants it.

A job is {"id": ..., "input": {fields of a request}, "s3Config": {...}}; see
`handlers.runpod_bucket` for the last, which may be missing.

| mode | what the caller gets |
|---|---|
| `handle` | the reply of `handlers.reply`, with updates of its progress before |
| `handle_stream` | {"index", "audio", "content_type"} while the music is made, then {"result"} |

The `audio` of all pieces of one index, decoded from base64 and joined, is one file: clip `index`
of the result. An error is {"error": "code: text"} in both modes, which makes the job FAILED.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from handlers.async_generation import Followed
from handlers.contract import ServedPredictor
from handlers.input_audio import with_input_audio
from handlers.reply import delivery_of, error_text, reply_of
from handlers.runpod_bucket import bucket_of
from handlers.runpod_progress import ProgressPosts
from handlers.serving import Serving
from musicgen.errors import DeviceFault, InvalidRequest, MusicGenError
from musicgen.generation import Generation
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult, Progress
from musicgen.settings import Delivery, Settings

PIECE_MAX_BYTES = 600_000
"""RunPod takes 1 MB for one piece of a stream, and base64 adds a third."""
LIVE_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "ogg": "audio/ogg"}
STREAMED_NOTE = "without a bucket only the stream has the sound: join the pieces of each index"
_OF_THE_FILE = ("audio", "bytes", "sha256", "loudness_lufs", "peak", "clipped_samples")
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Job = Mapping[str, Any]
PostProgress = Callable[[Job, str], Awaitable[None]]
"""Sends one update of a job and returns when it has been answered."""

logger = logging.getLogger(__name__)


def _nothing() -> None:
    """For those who run no worker that could be replaced."""


class RunPodJobs:
    """Runs jobs on `predictor`, several at once where it has slots, and never blocks the loop.

    Cancelling the task of a job stops its decode. `replace_worker` is called when the device is
    lost while streaming: the SDK drops `refresh_worker` there.
    """

    def __init__(
        self,
        predictor: ServedPredictor,
        settings: Settings,
        post_progress: PostProgress | None = None,
        replace_worker: Callable[[], None] = _nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serving = Serving(predictor)
        self._bucket = settings.bucket
        self._networks = settings.input_networks
        self._post_progress = post_progress
        self._replace_worker = replace_worker
        self._clock = clock

    def concurrency(self, current: int) -> int:
        """The SDK's `concurrency_modifier`. Constant: it changes only while no job runs."""
        return self._serving.slots

    async def handle(self, job: Job) -> dict[str, Any]:
        """The reply to a job, or {"error": ...}, with `refresh_worker` when the device is lost."""
        post = partial(self._post_progress, job) if self._post_progress else None
        async with ProgressPosts(post, self._clock) as posts:
            try:
                async with self._follow(job) as run:
                    async for progress in run:
                        posts.tell(progress)
                    result = await run.finished()
                return await asyncio.to_thread(_reply, result)
            except Exception as error:
                failure = _failure(job, error)
                if isinstance(error, DeviceFault):
                    failure["refresh_worker"] = True
                return failure

    async def handle_stream(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """The sound of a job in pieces, and its result without what the pieces have told."""
        try:
            async with self._follow(job, "joined") as run:
                _stop_with_this_task(run)
                async for progress in run:
                    for piece in _pieces(progress, job["input"]):
                        yield piece
                result = await run.finished()
            last = {"result": await asyncio.to_thread(_streamed_reply, result)}
        except Exception as error:
            # Not raised: the SDK would send the caller the traceback.
            last = _failure(job, error)
            if isinstance(error, DeviceFault):
                self._replace_worker()
        yield last

    def _follow(self, job: Job, stream: StreamForm | None = None) -> Followed:
        fields = _fields(job)
        delivery = delivery_of(bucket_of(job.get("s3Config"), self._bucket))
        return Followed(partial(self._started, fields, job_id_of(job), delivery, stream))

    @contextmanager
    def _started(
        self,
        fields: dict[str, Any],
        job_id: str | None,
        delivery: Delivery,
        stream: StreamForm | None,
        gave_up: threading.Event,
    ) -> Iterator[Generation]:
        """In the thread of the generation, where fetching the input audio may wait too."""
        with with_input_audio(fields, self._networks) as local:
            request = GenerationRequest.from_mapping(local)
            with self._serving.started(
                request, job_id, stream=stream, delivery=delivery, gave_up=gave_up
            ) as generation:
                yield generation


def job_id_of(job: Job) -> str | None:
    """The job's id as a name that files and keys may have; None without one."""
    given = job.get("id")
    if given is None or given == "":
        return None
    name = str(given)
    if _SAFE_NAME.fullmatch(name):
        return name
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _fields(job: Job) -> dict[str, Any]:
    given = job.get("input")
    if not isinstance(given, Mapping):
        raise InvalidRequest("input", given, "an object with the fields of a request")
    return dict(given)


def _pieces(progress: Progress, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content_type = LIVE_TYPES[fields.get("output_format") or GenerationRequest.output_format]
    for index, data in enumerate(progress.audio):
        for start in range(0, len(data), PIECE_MAX_BYTES):
            part = base64.b64encode(data[start : start + PIECE_MAX_BYTES]).decode()
            yield {"index": index, "audio": part, "content_type": content_type}


def _reply(result: GenerationResult) -> dict[str, Any]:
    reply = reply_of(result)
    # What cannot be sent fails here: the SDK would drop it and leave the job in progress.
    json.dumps(reply, ensure_ascii=False, allow_nan=False).encode()
    return reply


def _streamed_reply(result: GenerationResult) -> dict[str, Any]:
    """Of a clip in no bucket nobody has the normalized file: what describes it goes as well."""
    reply = _reply(result)
    inline = [clip for clip in reply["clips"] if "audio" in clip]
    for clip in inline:
        for name in _OF_THE_FILE:
            del clip[name]
    if inline:
        reply["notes"].append(STREAMED_NOTE)
    return reply


def _failure(job: Job, error: Exception) -> dict[str, Any]:
    if not isinstance(error, MusicGenError):
        logger.error("job %s failed unexpectedly", job_id_of(job), exc_info=error)
    # A lone surrogate of the caller's would keep the SDK from sending anything.
    return {"error": error_text(error).encode("utf-8", "backslashreplace").decode()}


def _stop_with_this_task(run: Followed) -> None:
    """Cancelling a job while a piece is being sent leaves the generator where it stands."""
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(lambda _: run.give_up())
