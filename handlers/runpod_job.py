"""RunPod's translation: jobs to running generations, their results to the SDK's answers.

A job is {"id": ..., "input": {fields of a request}, "s3Config": {...}}. `s3Config` is optional;
see `handlers.runpod_bucket`.

| mode | answer |
|---|---|
| `handle` | the reply of `handlers.reply`, preceded by progress updates |
| `handle_stream` | {"index", "audio", "content_type"} while the music is made, then {"result"} |

The pieces of one index, decoded from base64 and joined, are one file: clip `index` of the result.
An error is {"error": "code: text"} in both modes and makes the job FAILED.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from handlers.async_generation import AsyncGeneration
from handlers.contract import ServedPredictor
from handlers.reply import LIVE_TYPES, build_reply, choose_delivery, format_error
from handlers.runpod_bucket import read_bucket
from handlers.runpod_progress import ProgressPosts
from handlers.serving import Serving
from musicgen.errors import DeviceFault, InvalidRequest, MusicGenError
from musicgen.request import GenerationRequest, StreamForm
from musicgen.result import GenerationResult, Progress
from musicgen.settings import Delivery, Settings

PIECE_MAX_BYTES = 600_000
"""RunPod accepts 1 MB for one piece of a stream, and base64 adds a third."""
STREAMED_NOTE = "Without a bucket the audio is only in the stream: join the pieces of each index."
_FILE_FACTS = (
    *("audio", "bytes", "sha256"),
    *("loudness_lufs", "peak", "true_peak_dbtp", "clipped_samples"),
)
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Job = Mapping[str, Any]
PostProgress = Callable[[Job, str], Awaitable[None]]
"""Sends one update of a job and returns after RunPod has answered."""

logger = logging.getLogger(__name__)


def _do_nothing() -> None:
    """Stand in for `replace_worker` where no worker can be replaced."""


class RunPodJobs:
    """Jobs of one RunPod worker, as many at once as `predictor` has slots. Never blocks the loop.

    Cancelling the task of a job stops its decode. `replace_worker` is called after a device fault
    while streaming, because the SDK ignores `refresh_worker` in a stream.
    """

    def __init__(
        self,
        predictor: ServedPredictor,
        settings: Settings,
        post_progress: PostProgress | None = None,
        replace_worker: Callable[[], None] = _do_nothing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._serving = Serving(predictor, settings.input_networks)
        self._bucket = settings.bucket
        self._post_progress = post_progress
        self._replace_worker = replace_worker
        self._clock = clock

    def concurrency(self, current: int) -> int:
        """Return the number of slots, for the SDK's `concurrency_modifier`.

        Constant, because the SDK applies a change only while no job runs.
        """
        return self._serving.slots

    async def handle(self, job: Job) -> dict[str, Any]:
        """Return the reply to a job, or {"error": ...}, with `refresh_worker` on a device fault."""
        post = partial(self._post_progress, job) if self._post_progress else None
        async with ProgressPosts(post, self._clock) as posts:
            try:
                async with self._follow(job) as generation:
                    async for progress in generation:
                        posts.update(progress)
                    result = await generation.result()
                return await asyncio.to_thread(_build_reply, result)
            except Exception as error:
                failure = _build_failure(job, error)
                if isinstance(error, DeviceFault):
                    failure["refresh_worker"] = True
                return failure

    async def handle_stream(self, job: Job) -> AsyncIterator[dict[str, Any]]:
        """Yield the audio of a job in pieces, then its result without what the pieces contain."""
        try:
            async with self._follow(job, "joined") as generation:
                _cancel_with_task(generation)
                async for progress in generation:
                    for piece in _split_audio(progress, job["input"]):
                        yield piece
                result = await generation.result()
            last = {"result": await asyncio.to_thread(_build_stream_reply, result)}
        except Exception as error:
            # Not raised: the SDK would send the caller the traceback.
            last = _build_failure(job, error)
            if isinstance(error, DeviceFault):
                self._replace_worker()
        yield last

    def _follow(self, job: Job, stream: StreamForm | None = None) -> AsyncGeneration:
        fields = _read_fields(job)
        bucket = read_bucket(job.get("s3Config"), self._bucket)
        delivery = choose_delivery(self._bucket) if bucket is None else Delivery(bucket, True)
        return self._serving.follow(fields, build_job_id(job), stream=stream, delivery=delivery)


def build_job_id(job: Job) -> str | None:
    """Return a job's id as a name safe for files and keys; None for a job without an id.

    An unsafe id becomes the beginning of its SHA-256.
    """
    value = job.get("id")
    if value is None or value == "":
        return None
    name = str(value)
    if _SAFE_NAME.fullmatch(name):
        return name
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _read_fields(job: Job) -> dict[str, Any]:
    value = job.get("input")
    if not isinstance(value, Mapping):
        raise InvalidRequest("input", "must be an object with the fields of a request", value=value)
    return dict(value)


def _split_audio(progress: Progress, fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    content_type = LIVE_TYPES[fields.get("output_format") or GenerationRequest.output_format]
    for index, data in enumerate(progress.audio):
        for start in range(0, len(data), PIECE_MAX_BYTES):
            part = base64.b64encode(data[start : start + PIECE_MAX_BYTES]).decode()
            yield {"index": index, "audio": part, "content_type": content_type}


def _build_reply(result: GenerationResult) -> dict[str, Any]:
    reply = build_reply(result)
    # Fail here if it cannot be sent: the SDK would drop it and leave the job in progress.
    json.dumps(reply, ensure_ascii=False, allow_nan=False).encode()
    return reply


def _build_stream_reply(result: GenerationResult) -> dict[str, Any]:
    """Return the reply at the end of a stream.

    Without a bucket nobody gets the normalized file, so the facts about it are left out too.
    """
    reply = _build_reply(result)
    inline = [clip for clip in reply["clips"] if "audio" in clip]
    for clip in inline:
        for name in _FILE_FACTS:
            del clip[name]
    if inline:
        reply["notes"].append(STREAMED_NOTE)
    return reply


def _build_failure(job: Job, error: Exception) -> dict[str, Any]:
    if not isinstance(error, MusicGenError):
        logger.error("job %s failed unexpectedly", build_job_id(job), exc_info=error)
    # A lone surrogate from the caller would keep the SDK from sending anything.
    return {"error": format_error(error).encode("utf-8", "backslashreplace").decode()}


def _cancel_with_task(generation: AsyncGeneration) -> None:
    """Cancel the generation when the current task ends.

    Cancelling a job while the SDK sends a piece leaves the generator suspended at its `yield`.
    """
    task = asyncio.current_task()
    if task is not None:
        task.add_done_callback(lambda _: generation.cancel())
