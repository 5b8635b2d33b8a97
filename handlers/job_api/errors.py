"""Errors of the HTTP API: refused calls that a platform's own queue would accept."""

from __future__ import annotations

import math
from typing import Any

from handlers.call_errors import ApiError as ApiError
from handlers.call_errors import BodyTooLarge as BodyTooLarge
from handlers.contract import describe_error
from musicgen.errors import InvalidRequest
from musicgen.errors.counts import format_count
from musicgen.errors.reasons import Reason

RETRY_MAX_SECONDS = 600


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def build_error_body(status: int, code: str, message: str, **details: Any) -> dict[str, Any]:
    """Return the JSON of an error, for our clients and for those of OpenAI's API.

    The latter read `type` and `param`, the name of a field.
    """
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"code": code, "message": message, "type": kind, "param": details.get("field")}
    return {"error": {**error, **details}}


def build_failure(error: BaseException) -> dict[str, Any]:
    """Return the error of a job's row, without details hidden from callers."""
    report = describe_error(error)
    failure: dict[str, Any] = {"code": report.code, "message": report.text}
    if isinstance(error, InvalidRequest):
        failure["field"] = error.field
    return failure | find_reason(error)


def find_reason(error: BaseException) -> dict[str, Any]:
    """Return `reason` and `values` of a refused field or sound, for texts in other languages."""
    problem = error.problem if isinstance(error, InvalidRequest) else None
    return problem.to_mapping() if isinstance(problem, Reason) else {}


class Unauthorized(ApiError):
    """The call has no API key. `challenge`: the value of WWW-Authenticate (RFC 6750, 3)."""

    status, code = 401, "key_needed"
    challenge = 'Bearer realm="musicgen"'


class WrongKey(Unauthorized):
    """The call has a key that is unknown, revoked or expired."""

    code = "key_wrong"
    challenge = f'{Unauthorized.challenge}, error="invalid_token"'

    def __init__(self) -> None:
        super().__init__("This API key is unknown, revoked or expired. Check or replace it.")


class Forbidden(ApiError):
    """The API key lacks a scope."""

    status, code = 403, "not_allowed"


class NotFound(ApiError):
    """The job, clip or model does not exist, or belongs to another caller."""

    status, code = 404, "not_found"


class AudioUnavailable(ApiError):
    """The job has no live audio at the moment."""

    status, code = 409, "not_there"


class IdempotencyConflict(ApiError):
    """The idempotency key was used for a different request."""

    status, code = 409, "idempotency_key_used"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key[:60]!r} was already used for a different request. Use a new key."
        )


class UploadInUse(ApiError):
    """An unfinished job needs the upload."""

    status, code = 409, "upload_in_use"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"Job {job_id} still needs this upload. Wait for the job or cancel it.")


class TooManyFavourites(ApiError):
    """The caller has as many favourites as the server keeps."""

    status, code = 409, "too_many_favourites"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"You already have {format_count(limit, 'favourite')}, the limit of one caller. "
            "Remove one first."
        )


class NothingToDownload(ApiError):
    """None of the chosen jobs has a clip."""

    status, code = 409, "not_there"


class PreconditionFailed(ApiError):
    """If-Match or If-Unmodified-Since excludes the version that the server has."""

    status, code = 412, "precondition_failed"

    def __init__(self) -> None:
        super().__init__(
            "The file is another version than If-Match or If-Unmodified-Since asks for. "
            "Fetch the whole file again without them."
        )


class RangeNotSatisfiable(ApiError):
    """The requested range is outside the clip of `size` bytes."""

    status, code = 416, "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(
            f"The range is outside the file. The file has {format_count(size, 'byte')}."
        )
        self.size = size


class CapacityExceeded(ApiError):
    """A limit of unfinished jobs is reached; trying again can help once a job has finished."""

    retry_after = 10

    def with_estimates(self, next_end: float | None, wait: float | None) -> CapacityExceeded:
        """Return this error with the estimates of the queue.

        `next_end`: seconds until a job finishes. `wait`: seconds until a job submitted now would
        start. Both are None without workers.
        """
        if next_end is not None:
            self.retry_after = min(RETRY_MAX_SECONDS, max(1, math.ceil(next_end)))
        self.expected_seconds = None if wait is None else round(wait, 1)
        return self


class TooManyJobs(CapacityExceeded):
    """The caller has too many unfinished jobs."""

    status, code = 429, "too_many_jobs"

    def __init__(self, limit: int) -> None:
        text = (
            f"You already have {format_count(limit, 'job')} waiting or running, the limit of one "
            "caller. Wait until one finishes, or cancel one."
        )
        super().__init__(text, self.retry_after)


class TooManyUploads(ApiError):
    """The caller's uploads reach their quota."""

    status, code = 429, "too_many_uploads"

    def __init__(self, number: int, size: int, wait: int) -> None:
        super().__init__(
            f"Your uploads reach their limit of {format_count(number, 'file')} or "
            f"{size / 1e6:g} MB. The oldest one expires in {wait} s.",
            wait,
        )


class TooManyStreams(ApiError):
    """The caller has too many open streams."""

    status, code = 429, "too_many_streams"
    retry_after = 10

    def __init__(self, limit: int) -> None:
        text = (
            f"You already have {format_count(limit, 'open stream')}, the limit of one caller. "
            "Close one."
        )
        super().__init__(text, self.retry_after)


class RateLimited(ApiError):
    """The caller makes too many calls in a time."""

    status, code = 429, "too_many_calls"


class ServerBusy(ApiError):
    """The server does as much of this work at once as it may."""

    status, code = 503, "server_busy"


class QueueFull(CapacityExceeded):
    """The queue holds as many jobs as it may."""

    status, code = 503, "queue_full"

    def __init__(self, limit: int) -> None:
        text = f"The queue is full ({format_count(limit, 'waiting job')}). Try again later."
        super().__init__(text, self.retry_after)
