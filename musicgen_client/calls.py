"""The calls of both clients, as steps: see `sending`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal
from urllib.parse import quote

import httpx

from musicgen_client.errors import CannotWrite, JobCancelled, JobFailed, WaitTimeout
from musicgen_client.keeping import KeepingCalls
from musicgen_client.sending import Pause, RetryPolicy, Sender, Steps, read_answer
from musicgen_client.values import (
    Job,
    JobClip,
    JobClipPart,
    JobPage,
    Model,
    ModelList,
    State,
    Upload,
    read_load_state,
)
from musicgen_client.version import VERSION

TIMEOUT_SECONDS = 60.0
POLL_SECONDS = (0.2, 2.0)
"""First and longest pause between two polls of a job."""
PAGE_ITEMS = 100
OnStatus = Callable[[Job], None]
AudioFormat = Literal["wav", "flac", "mp3", "ogg", "opus", "mid"]


@dataclass(frozen=True)
class JobFilter:
    """Choice of jobs; None and an empty text for all. `search`: beginnings of words."""

    status: State | None = None
    favourite: bool | None = None
    search: str | None = None


class Calls:
    """The calls of both clients. `build_request`: that of an httpx client."""

    def __init__(self, build_request: Callable[..., httpx.Request], policy: RetryPolicy) -> None:
        self._sender = Sender(build_request, policy)
        self.keeping = KeepingCalls(self._sender)

    def submit(self, fields: Mapping[str, Any], idempotency_key: str | None) -> Steps[str]:
        """Submit a job and return its id; a `Path` or bytes in `input_audio` is uploaded first."""
        # One key for all attempts: if an answer is lost, the next attempt finds the same job.
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(16)}
        body = dict(fields)
        audio = body.get("input_audio")
        if isinstance(audio, Path | bytes):
            upload = yield from self.upload(audio)
            body["input_audio"] = upload.input_audio
        response = yield from self._sender.send("POST", "/v1/generate", json=body, headers=headers)
        return read_answer(response, lambda body: str(body["job_id"]))

    def upload(self, sound: Path | bytes) -> Steps[Upload]:
        """Upload an audio file."""
        content = sound if isinstance(sound, bytes) else sound.read_bytes()
        response = yield from self._sender.send("POST", "/v1/uploads", content=content)
        return read_answer(response, Upload.from_mapping)

    def status(self, job_id: str) -> Steps[Job]:
        """Return the state of a job."""
        response = yield from self._sender.send("GET", f"/v1/status/{_quote(job_id)}")
        return read_answer(response, Job.from_mapping)

    def cancel(self, job_id: str) -> Steps[Job]:
        """Cancel a job and return its state."""
        response = yield from self._sender.send("POST", f"/v1/jobs/{_quote(job_id)}/cancel")
        return read_answer(response, Job.from_mapping)

    def wait(self, job_id: str, tell: OnStatus | None, timeout: float | None) -> Steps[Job]:
        """Poll a job until it is completed; `tell` receives every state."""
        end = None if timeout is None else monotonic() + timeout
        pause = POLL_SECONDS[0]
        while True:
            job = yield from self.status(job_id)
            if tell is not None:
                tell(job)
            if job.is_final:
                return check_completed(job)
            seconds = min(pause, max(POLL_SECONDS[0], (job.expected_seconds or pause) / 4))
            if end is not None and timeout is not None:
                left = end - monotonic()
                if left <= 0:
                    raise WaitTimeout(job_id, timeout)
                seconds = min(seconds, left)
            yield Pause(seconds)
            pause = min(POLL_SECONDS[1], 1.5 * pause)

    def generate(
        self,
        fields: Mapping[str, Any],
        idempotency_key: str | None,
        tell: OnStatus | None,
        timeout: float | None,
    ) -> Steps[Job]:
        """Submit a job and wait until it is completed."""
        job_id = yield from self.submit(fields, idempotency_key)
        return (yield from self.wait(job_id, tell, timeout))

    def jobs(self, limit: int, before: str | None, chosen: JobFilter) -> Steps[JobPage]:
        """Return a page of jobs."""
        chosen_values = {"limit": limit, "before": before, **asdict(chosen)}
        params = {name: value for name, value in chosen_values.items() if value is not None}
        response = yield from self._sender.send("GET", "/v1/jobs", params=params)
        return read_answer(response, JobPage.from_mapping)

    def audio(
        self,
        clip: JobClip | JobClipPart | str,
        audio_format: AudioFormat | None,
        byte_range: tuple[int, int | None] | None,
    ) -> Steps[bytes]:
        """Download a clip, or a part of it."""
        url = choose_clip_url(clip, audio_format)
        headers = {}
        if byte_range is not None:
            first, last = byte_range
            headers["Range"] = f"bytes={first}-{'' if last is None else last}"
        response = yield from self._sender.send("GET", url, headers=headers)
        return bytes(response.content)

    def save(self, job: Job, output: Path, audio_format: AudioFormat | None) -> Steps[list[Path]]:
        """Download the clips of a job and their parts, then write them; return their paths."""
        contents: dict[Path, bytes] = {}
        for number, clip in enumerate(job.clips, start=1):
            own = output.with_stem(f"{output.stem}-{number}") if len(job.clips) > 1 else output
            contents[own] = yield from self.audio(clip, audio_format, None)
            for part in clip.parts:
                is_midi = part.name == "midi"
                path = own if is_midi else own.with_stem(f"{own.stem}-{part.name}")
                path = path.with_suffix(".mid") if is_midi else path
                form = None if is_midi else audio_format
                contents[path] = yield from self.audio(part, form, None)
        return _write_clips(contents)

    def send_speech(
        self, body: Mapping[str, Any], headers: Mapping[str, str], timeout: float
    ) -> Steps[httpx.Response]:
        """Send a call that waits for its sound, for `timeout` seconds."""
        given = {"json": dict(body), "headers": headers, "timeout": timeout}
        return (yield from self._sender.send("POST", "/v1/audio/speech", **given))

    def models(self) -> Steps[ModelList]:
        """Return the server's models."""
        response = yield from self._sender.send("GET", "/v1/models")
        return read_answer(response, ModelList.from_mapping)

    def model(self, name: str) -> Steps[Model]:
        """Return one model."""
        response = yield from self._sender.send("GET", f"/v1/models/{quote(name)}")
        return read_answer(response, Model.from_mapping)

    def load(self, model: str) -> Steps[Literal["loading", "loaded"]]:
        """Have the workers load a model."""
        path = f"/v1/models/{quote(model)}/load"
        response = yield from self._sender.send("POST", path)
        return read_answer(response, read_load_state)

    def open_events(self, job_id: str) -> Steps[httpx.Response]:
        """Open the events of a job."""
        headers = {"Accept": "text/event-stream"}
        path = f"/v1/jobs/{_quote(job_id)}/events"
        return (yield from self._sender.send("GET", path, headers=headers))

    def open_stream(self, job_id: str, clip: int) -> Steps[httpx.Response]:
        """Open the live audio of a job; the clip itself once it is completed."""
        params = {"clip": clip}
        path = f"/v1/audio/{_quote(job_id)}/stream"
        return (yield from self._sender.send("GET", path, params=params))


def check_completed(job: Job) -> Job:
    """Return a completed job. Raises: `JobFailed`, `JobCancelled`."""
    if job.status == "failed":
        raise JobFailed(job)
    if job.status == "cancelled":
        raise JobCancelled(job)
    return job


def choose_clip_url(clip: JobClip | JobClipPart | str, audio_format: AudioFormat | None) -> str:
    """Return the URL of a clip, in another format if one is chosen. A text is a clip's name."""
    url = f"/v1/audio/{_quote(clip)}" if isinstance(clip, str) else clip.url
    if audio_format is None:
        return url
    stem, dot, _ = url.rpartition(".")
    return f"{stem if dot else url}.{audio_format}"


def http_options(
    url: str, key: str | None, timeout: float | httpx.Timeout, headers: Mapping[str, str] | None
) -> dict[str, Any]:
    """Return the options of the httpx client. `url` may end in `/v1`, as for OpenAI's clients."""
    url = url.rstrip("/").removesuffix("/v1")
    auth = _ServerKey(key, httpx.URL(url)) if key else None
    # A clip may redirect to a bucket; httpx removes our key when the host changes.
    return {
        "base_url": url,
        "auth": auth,
        "timeout": timeout,
        "follow_redirects": True,
        "headers": {"User-Agent": f"musicgen-client/{VERSION}", **(headers or {})},
    }


class _ServerKey(httpx.Auth):
    """A key for one server: an answer may name a clip on another one."""

    def __init__(self, key: str, server: httpx.URL) -> None:
        self._header = f"Bearer {key}"
        self._origin = _read_origin(server)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the key to a request to the server."""
        if _read_origin(request.url) == self._origin:
            request.headers["Authorization"] = self._header
        yield request


def _read_origin(url: httpx.URL) -> tuple[str, bytes, int | None]:
    return url.scheme, url.raw_host, url.port


def _quote(name: str) -> str:
    """Return a name for one segment of a path.."""
    return quote(name, safe="")


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears complete under its name, or not at all."""
    temporary = path.with_name(f".{secrets.token_hex(16)}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_clips(contents: Mapping[Path, bytes]) -> list[Path]:
    """Write the files by their paths, and return the paths."""
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, content)
        except OSError as error:
            raise CannotWrite(f"cannot write {path}: {error.strerror}") from error
    return list(contents)
