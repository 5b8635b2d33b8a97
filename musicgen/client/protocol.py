"""Calls of the job API as generators, shared by the synchronous and the asynchronous client.

A call yields an `httpx.Request` or a `Pause` and receives the `httpx.Response`, or the
error of httpx as an exception. It sends nothing itself: a client runs the steps.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from musicgen.errors import GenerationCancelled, NotWritable, RemoteError
from musicgen.http_errors import list_http_errors

T = TypeVar("T")
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 10.0
POLL_SECONDS = (0.2, 2.0)
"""First and longest pause between two polls of a job."""
_RETRY_STATUSES = (408, 425, 429, 502, 503, 504)


class NotDone(RemoteError):
    """The server answered, but refused the call or failed the job.

    `status`: the HTTP status, None for a failed job. `code_there`: the server's stable error code,
    None if it gave none.
    """

    def __init__(self, text: str, status: int | None, code_there: str | None) -> None:
        super().__init__(text)
        self.status, self.code_there = status, code_there


@dataclass(frozen=True)
class JobClip:
    """One finished clip of a job.

    `url`: its path on the server. `seed` and `sha256` are those of the file.
    """

    url: str
    content_type: str
    sha256: str
    seed: int | None = None
    prompt: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Job:
    """State of a job on the server; `raw` is the whole JSON answer."""

    id: str
    status: str
    progress: float
    position: int | None
    expected_seconds: float | None
    clips: tuple[JobClip, ...] = ()
    made_by: str | None = None
    licence: str | None = None
    error: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Job:
        """Build a job from the JSON answer of `/status`."""
        result, error = mapping.get("result") or {}, mapping.get("error") or {}
        names = JobClip.__dataclass_fields__
        clips = tuple(
            JobClip(**{name: clip.get(name) for name in names}) for clip in result.get("clips", ())
        )
        return cls(
            id=mapping["job_id"],
            status=mapping["status"],
            progress=mapping["progress"],
            position=mapping.get("position"),
            expected_seconds=mapping.get("expected_seconds"),
            clips=clips,
            made_by=result.get("made_by"),
            licence=result.get("licence"),
            error=f"{error['code']}: {error['message']}" if error else None,
            raw=mapping,
        )


@dataclass(frozen=True)
class Pause:
    """A wait between two requests."""

    seconds: float


Steps = Generator[httpx.Request | Pause, httpx.Response | None, T]
OnStatus = Callable[[Job], None]


class Calls:
    """The calls of both clients, as steps.

    `build_request`: that of an `httpx.Client` or `httpx.AsyncClient`.
    """

    def __init__(self, build_request: Callable[..., httpx.Request]) -> None:
        self._build_request = build_request

    def submit(self, fields: Mapping[str, Any], idempotency_key: str | None) -> Steps[str]:
        """Submit a job and return its id; a `Path` in `input_audio` is uploaded first."""
        # One key for all attempts: if an answer is lost, the next attempt finds the same job.
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(16)}
        body = dict(fields)
        audio = body.get("input_audio")
        if isinstance(audio, Path):
            body["input_audio"] = yield from self.upload(audio)
        response = yield from self._send("POST", "/v1/generate", json=body, headers=headers)
        return _read_answer(response, lambda body: str(body["job_id"]))

    def upload(self, path: Path) -> Steps[str]:
        """Upload an audio file and return the value for `input_audio`."""
        response = yield from self._send("POST", "/v1/uploads", content=path.read_bytes())
        return _read_answer(response, lambda body: str(body["input_audio"]))

    def status(self, job_id: str) -> Steps[Job]:
        """Return the state of a job."""
        response = yield from self._send("GET", f"/v1/status/{job_id}")
        return _read_answer(response, Job.from_mapping)

    def cancel(self, job_id: str) -> Steps[Job]:
        """Cancel a job and return its state."""
        response = yield from self._send("DELETE", f"/v1/jobs/{job_id}")
        return _read_answer(response, Job.from_mapping)

    def wait(self, job_id: str, tell: OnStatus | None) -> Steps[Job]:
        """Poll a job until it is completed; `tell` receives every state."""
        pause = POLL_SECONDS[0]
        while True:
            job = yield from self.status(job_id)
            if tell is not None:
                tell(job)
            if job.status == "failed":
                code = (job.raw.get("error") or {}).get("code")
                raise NotDone(f"the job failed: {job.error}", None, code)
            if job.status == "cancelled":
                raise GenerationCancelled(f"job {job_id} was cancelled")
            if job.status == "completed":
                return job
            yield Pause(min(pause, max(POLL_SECONDS[0], (job.expected_seconds or pause) / 4)))
            pause = min(POLL_SECONDS[1], 1.5 * pause)

    def generate(self, fields: Mapping[str, Any], tell: OnStatus | None) -> Steps[Job]:
        """Submit a job and wait until it is completed."""
        job_id = yield from self.submit(fields, None)
        return (yield from self.wait(job_id, tell))

    def audio(self, clip: JobClip) -> Steps[bytes]:
        """Download a clip."""
        response = yield from self._send("GET", clip.url)
        return bytes(response.content)

    def save(self, job: Job, output: Path) -> Steps[list[Path]]:
        """Download the clips of a job, then write them to files; return their paths."""
        contents = []
        for clip in job.clips:
            content = yield from self.audio(clip)
            contents.append(content)
        return _write_clips(contents, output)

    def models(self) -> Steps[dict[str, Any]]:
        """Return the server's models."""
        response = yield from self._send("GET", "/v1/models")
        return _read_answer(response, dict)

    def _send(self, method: str, path: str, **content: Any) -> Steps[httpx.Response]:
        """Send a request until the server answers it, at most `ATTEMPTS` times.

        Every call of this API can be repeated safely. Raises: `NotDone`, `RemoteError`.
        """
        for attempt in range(1, ATTEMPTS + 1):
            response: httpx.Response | None = None
            try:
                response = yield self._build_request(method, path, **content)
            except list_http_errors() as error:
                if attempt == ATTEMPTS or not isinstance(error, httpx.TransportError):
                    raise RemoteError(
                        f"the server does not answer ({type(error).__name__})"
                    ) from error
            if response is not None and (
                response.status_code not in _RETRY_STATUSES or attempt == ATTEMPTS
            ):
                return _check_success(response)
            yield Pause(_retry_seconds(response, attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")


def http_options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Return the options of the httpx client."""
    auth = _ServerKey(key, httpx.URL(url)) if key else None
    # A clip may redirect to a bucket; httpx removes our key when the host changes.
    return {"base_url": url, "auth": auth, "timeout": timeout, "follow_redirects": True}


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


def _retry_seconds(response: httpx.Response | None, attempt: int) -> float:
    """Return the server's Retry-After, or else a growing pause with jitter."""
    retry_after = response.headers.get("retry-after", "") if response is not None else ""
    pause = min(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1), LAST_PAUSE_SECONDS)
    return float(retry_after) if retry_after.isdecimal() else pause * random.uniform(0.5, 1)


def _check_success(response: httpx.Response) -> httpx.Response:
    """Return a successful response. Raises: `NotDone` with the server's message."""
    if response.is_success:
        return response
    code = None
    try:
        error = response.json()["error"]
        code = str(error["code"])
        text = f"{code}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        # A proxy answers with a page.
        text = " ".join(response.text[:200].split())
    status = response.status_code
    raise NotDone(f"{response.request.url.host} answers {status}: {text}", status, code)


def _read_answer(response: httpx.Response, build: Callable[[Any], T]) -> T:
    """Return what `build` makes of the JSON. Raises: `RemoteError` for that of another server."""
    try:
        return build(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        shown = " ".join(response.text[:200].split())
        raise RemoteError(
            f"the answer of {response.request.url.host} is not that of a job API (was {shown!r}). "
            "Check the address."
        ) from None


def _write_clips(contents: list[bytes], output: Path) -> list[Path]:
    """Write one clip to `output`, or several to `output` with -1, -2 and so on."""
    paths = [output]
    if len(contents) != 1:
        paths = [output.with_stem(f"{output.stem}-{n}") for n in range(1, len(contents) + 1)]
    for path, content in zip(paths, contents, strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError as error:
            raise NotWritable(f"cannot write {path}: {error.strerror}") from error
    return paths
