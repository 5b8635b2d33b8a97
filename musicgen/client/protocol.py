"""What a client of the job API asks, as steps: generators that yield what to ask and are sent the
answers, so that a waiting client and an asynchronous one are the same but for how they ask.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from musicgen.errors import GenerationCancelled, RemoteError

T = TypeVar("T")
TIMEOUT_SECONDS = 60.0
ATTEMPTS = 5
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 10.0
LOOK_SECONDS = (0.2, 2.0)
"""Between two looks at a job: at first, and at most."""
FINAL = ("completed", "failed", "cancelled")
_LATER = (408, 425, 429, 502, 503, 504)


class NotDone(RemoteError):
    """The server answered, and the answer is that it did not do it. `status`: of HTTP, None for a
    job that failed; `code_there`: the stable code that the server gave, if it gave one."""

    def __init__(self, text: str, status: int | None, code_there: str | None) -> None:
        super().__init__(text)
        self.status, self.code_there = status, code_there


@dataclass(frozen=True)
class JobClip:
    """`url`: its path on the server. `seed` and `sha256` are those of the file."""

    url: str
    content_type: str
    sha256: str
    seed: int | None = None
    prompt: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Job:
    """A job as the server tells it; `raw` is all of it."""

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
    def from_mapping(cls, told: Mapping[str, Any]) -> Job:
        result, error = told.get("result") or {}, told.get("error") or {}
        names = JobClip.__dataclass_fields__
        clips = tuple(
            JobClip(**{name: clip.get(name) for name in names}) for clip in result.get("clips", ())
        )
        return cls(
            id=told["job_id"],
            status=told["status"],
            progress=told["progress"],
            position=told.get("position"),
            expected_seconds=told.get("expected_seconds"),
            clips=clips,
            made_by=result.get("made_by"),
            licence=result.get("licence"),
            error=f"{error['code']}: {error['message']}" if error else None,
            raw=told,
        )


@dataclass(frozen=True)
class Ask:
    """One call."""

    method: str
    path: str
    json: Any = None
    content: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sleep:
    """A pause."""

    seconds: float


Steps = Generator[Ask | Sleep, Any, T]
Told = Callable[[Job], None]


class Calls:
    """What both clients can do, as steps."""

    def submit(self, fields: Mapping[str, Any], idempotency_key: str | None) -> Steps[str]:
        # One key for all attempts: a call whose answer was lost does not make a second job.
        headers = {"Idempotency-Key": idempotency_key or secrets.token_urlsafe(16)}
        sent = dict(fields)
        audio = sent.get("input_audio")
        if isinstance(audio, Path):
            sent["input_audio"] = yield from self.upload(audio)
        answer = yield Ask("POST", "/generate", json=sent, headers=headers)
        return str(answer.json()["job_id"])

    def upload(self, path: Path) -> Steps[str]:
        answer = yield Ask("POST", "/uploads", content=path.read_bytes())
        return str(answer.json()["input_audio"])

    def status(self, job_id: str) -> Steps[Job]:
        answer = yield Ask("GET", f"/status/{job_id}")
        return Job.from_mapping(answer.json())

    def cancel(self, job_id: str) -> Steps[Job]:
        answer = yield Ask("DELETE", f"/jobs/{job_id}")
        return Job.from_mapping(answer.json())

    def wait(self, job_id: str, tell: Told | None) -> Steps[Job]:
        pause = LOOK_SECONDS[0]
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
            yield Sleep(min(pause, max(LOOK_SECONDS[0], (job.expected_seconds or pause) / 4)))
            pause = min(LOOK_SECONDS[1], 1.5 * pause)

    def generate(self, fields: Mapping[str, Any], tell: Told | None) -> Steps[Job]:
        job_id = yield from self.submit(fields, None)
        return (yield from self.wait(job_id, tell))

    def audio(self, clip: JobClip) -> Steps[bytes]:
        answer = yield Ask("GET", clip.url)
        return bytes(answer.content)

    def models(self) -> Steps[dict[str, Any]]:
        answer = yield Ask("GET", "/models")
        return dict(answer.json())


def _retry_after(answer: httpx.Response | None, attempt: int) -> float:
    told = answer.headers.get("retry-after", "") if answer is not None else ""
    pause = min(FIRST_PAUSE_SECONDS * 2**attempt, LAST_PAUSE_SECONDS)
    return float(told) if told.isdecimal() else pause * random.uniform(0.5, 1)


def _checked(answer: httpx.Response) -> httpx.Response:
    """Raises: `NotDone` with what the server says."""
    if answer.is_success:
        return answer
    code = None
    try:
        error = answer.json()["error"]
        code = str(error["code"])
        what = f"{code}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        what = answer.text[:200]
    status = answer.status_code
    raise NotDone(f"{answer.request.url.host} answers {status}: {what}", status, code)


def _attempts(ask: Ask) -> Generator[Ask | Sleep, Any, httpx.Response]:
    """Again where that may help: every call of ours may be sent twice."""
    for attempt in range(ATTEMPTS):
        answer = yield ask
        failed = isinstance(answer, httpx.TransportError)
        if not failed and answer.status_code not in _LATER:
            return _checked(answer)
        if attempt + 1 < ATTEMPTS:
            yield Sleep(_retry_after(None if failed else answer, attempt))
    if isinstance(answer, httpx.TransportError):
        raise RemoteError(f"the server does not answer ({type(answer).__name__})") from answer
    return _checked(answer)


def whole(steps: Steps[T]) -> Steps[T]:
    """`steps` with each of their questions asked until it is answered."""
    try:
        wanted = next(steps)
        while True:
            if isinstance(wanted, Ask):
                answer = yield from _attempts(wanted)
            else:
                answer = yield wanted
            wanted = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def http_options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # A clip may be in a bucket, to which httpx does not send our key along.
    return {"base_url": url, "headers": headers, "timeout": timeout, "follow_redirects": True}


def http_request(ask: Ask) -> dict[str, Any]:
    return {
        "method": ask.method,
        "url": ask.path,
        "json": ask.json,
        "content": ask.content,
        "headers": dict(ask.headers),
    }
