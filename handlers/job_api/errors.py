"""Why a call is turned away that a platform's queue would take: errors of the HTTP API alone."""

from __future__ import annotations

import math

RETRY_MAX_SECONDS = 600


class Refusal(Exception):
    """A call that is answered with `status` and `code`. `retry_after`: seconds, where it helps.
    `expected_seconds`: how long a job that came now would wait, where that is why."""

    status = 400
    code = "refused"
    retry_after: int | None = None
    expected_seconds: float | None = None

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class KeyNeeded(Refusal):
    status, code = 401, "key_needed"


class NotAllowed(Refusal):
    status, code = 403, "not_allowed"


class NotFound(Refusal):
    status, code = 404, "not_found"


class NotYet(Refusal):
    """What was asked for may be there later, or is not any more."""

    status, code = 409, "not_there"


class DuplicateKey(Refusal):
    status, code = 409, "idempotency_key_used"

    def __init__(self, key: str) -> None:
        super().__init__(
            f"the Idempotency-Key {key[:60]!r} was sent with another request: take a new one"
        )


class BodyTooLarge(Refusal):
    status, code = 413, "body_too_large"


class NoRoom(Refusal):
    """What it is about has to end first: it knows when that may be once it is told."""

    retry_after = 10

    def told(self, next_end: float | None, wait: float | None) -> NoRoom:
        """`next_end`: seconds until a job ends, `wait`: until one that came now would begin; None
        where nobody works."""
        if next_end is not None:
            self.retry_after = min(RETRY_MAX_SECONDS, max(1, math.ceil(next_end)))
        self.expected_seconds = None if wait is None else round(wait, 1)
        return self


class TooManyJobs(NoRoom):
    status, code = 429, "too_many_jobs"

    def __init__(self, limit: int) -> None:
        text = f"{limit} jobs wait or run already: wait for one, or cancel one"
        super().__init__(text, self.retry_after)


class TooManyCalls(Refusal):
    status, code = 429, "too_many_calls"


class QueueFull(NoRoom):
    status, code = 503, "queue_full"

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} jobs wait already: come back later", self.retry_after)
