"""Errors of the HTTP API: refused calls that a platform's own queue would accept."""

from __future__ import annotations

import math

RETRY_MAX_SECONDS = 600


class ApiError(Exception):
    """A refused call, answered with the HTTP `status` and the stable `code`.

    `retry_after`: seconds for the Retry-After header, where trying again can help.
    `expected_seconds`: the wait of a job submitted now, where the queue is the reason.
    """

    status = 400
    code = "refused"
    retry_after: int | None = None
    expected_seconds: float | None = None

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unauthorized(ApiError):
    """The call has no valid API key."""

    status, code = 401, "key_needed"


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


class RangeNotSatisfiable(ApiError):
    """The requested range is outside the clip of `size` bytes."""

    status, code = 416, "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"The range is outside the file. The file has {size} bytes.")
        self.size = size


class BodyTooLarge(ApiError):
    """The body of a call is too large."""

    status, code = 413, "body_too_large"


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
            f"You already have {limit} jobs waiting or running, the limit of one caller. "
            "Wait until one finishes, or cancel one."
        )
        super().__init__(text, self.retry_after)


class TooManyUploads(ApiError):
    """The caller's uploads reach their quota."""

    status, code = 429, "too_many_uploads"

    def __init__(self, number: int, size: int, wait: int) -> None:
        super().__init__(
            f"Your uploads reach their limit of {number} files or {size / 1e6:g} MB. The oldest "
            f"one expires in {wait} s.",
            wait,
        )


class TooManyStreams(ApiError):
    """The caller has too many open streams."""

    status, code = 429, "too_many_streams"
    retry_after = 10

    def __init__(self, limit: int) -> None:
        text = f"You already have {limit} open streams, the limit of one caller. Close one."
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
        text = f"The queue is full ({limit} jobs are waiting). Try again later."
        super().__init__(text, self.retry_after)
