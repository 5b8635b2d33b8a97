"""Every error of the client, as one tree.

MusicGenClientError
├── ConnectionFailed        no answer: refused, lost, or too slow
├── UnexpectedAnswer        the answer is not that of a job API
├── CannotWrite             a clip cannot be written to its file
├── WaitTimeout             the job has not ended in time; it goes on
├── JobFailed               the job has failed: job, code
├── JobCancelled            the job was cancelled: job
└── ApiError                the server refused the call: status, code, field, request_id
    ├── Unauthorized
    │   ├── MissingKey          no key was sent
    │   └── AuthenticationFailed  the key is unknown, revoked or expired
    ├── PermissionDenied    the key lacks a scope
    ├── NotFound            no such job, clip, upload or model
    ├── Conflict            the state of the job or upload does not allow it
    │   └── AudioUnavailable    there is no live audio at the moment
    ├── InvalidRequest      a field is wrong: `field` names it
    ├── RateLimited         too many calls, jobs, uploads or streams: `retry_after`
    └── ServerError         the server could not answer
        └── ServerUnavailable   a later attempt can succeed: `retry_after`
            └── QueueFull       the queue is full: `expected_seconds`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musicgen_client.values import Job


class MusicGenClientError(Exception):
    """Base of all errors of this package."""


class ConnectionFailed(MusicGenClientError):
    """The server did not answer."""


class UnexpectedAnswer(MusicGenClientError):
    """The answer is not that of a job API, for example a proxy's page."""


class CannotWrite(MusicGenClientError):
    """A clip could not be written to its file."""


class WaitTimeout(MusicGenClientError):
    """A job did not end in time. It goes on; `job_id` finds it again."""

    def __init__(self, job_id: str, seconds: float) -> None:
        super().__init__(f"job {job_id} has not ended within {seconds:g} s")
        self.job_id = job_id


class JobFailed(MusicGenClientError):
    """A job has failed. `code` is the server's stable error code."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.code = job.error.code if job.error else None
        reason = f"{job.error.code}: {job.error.message}" if job.error else "no reason was given"
        super().__init__(f"the job failed: {reason}")


class JobCancelled(MusicGenClientError):
    """A job was cancelled."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was cancelled")
        self.job = job


@dataclass(frozen=True)
class Refusal:
    """What the server told about a refused call.

    `status`: of HTTP. `code`: stable, None from a proxy. `field`: name of the wrong field.
    `retry_after`, `expected_seconds`: seconds.
    """

    host: str
    status: int
    code: str | None
    message: str
    field: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    expected_seconds: float | None = None


class ApiError(MusicGenClientError):
    """The server refused a call. The attributes are those of `Refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        self.status, self.code = refusal.status, refusal.code
        self.message, self.field = refusal.message, refusal.field
        self.request_id = refusal.request_id
        self.retry_after = refusal.retry_after
        self.expected_seconds = refusal.expected_seconds
        text = f"{refusal.code}: {refusal.message}" if refusal.code else refusal.message
        super().__init__(f"{refusal.host} answers {refusal.status}: {text}")


class Unauthorized(ApiError):
    """The call has no valid key."""


class MissingKey(Unauthorized):
    """The call has no key, and the server needs one."""


class AuthenticationFailed(Unauthorized):
    """The key is unknown, revoked or expired."""


class PermissionDenied(ApiError):
    """The key lacks a scope."""


class NotFound(ApiError):
    """The job, clip, upload or model does not exist, or belongs to another key."""


class Conflict(ApiError):
    """The state of a job or an upload does not allow the call."""


class AudioUnavailable(Conflict):
    """There is nothing to hear at the moment."""


class InvalidRequest(ApiError):
    """The request is wrong. `field` names the field, if one is to blame."""


class RateLimited(ApiError):
    """The caller has too many calls, jobs, uploads or streams; `code` tells them apart."""


class ServerError(ApiError):
    """The server could not answer."""


class ServerUnavailable(ServerError):
    """The server cannot answer at present."""


class QueueFull(ServerUnavailable):
    """The queue is full. `expected_seconds`: the wait of a job submitted now, if known."""


_BY_CODE: dict[str, type[ApiError]] = {
    "key_needed": MissingKey,
    "key_wrong": AuthenticationFailed,
    "queue_full": QueueFull,
    "not_there": AudioUnavailable,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
    503: ServerUnavailable,
}


def build_api_error(refusal: Refusal) -> ApiError:
    """Return the error of a refused call."""
    if refusal.code in _BY_CODE:
        return _BY_CODE[refusal.code](refusal)
    other = ServerError if refusal.status >= 500 else InvalidRequest
    return _BY_STATUS.get(refusal.status, other)(refusal)
