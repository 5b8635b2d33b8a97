"""Errors of HTTP calls, beside those of a request: refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping

HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}
"""Codes of calls to an unknown path or with another method."""
RETRY_SECONDS = 10
"""Advice to callers of a server that is busy or not ready."""


class ApiError(Exception):
    """A refused call, answered with the HTTP `status` and the stable `code`.

    `retry_after`: seconds for the Retry-After header, where trying again can help.
    `field`: field of the body with the trouble. `headers`: further headers of the answer.
    `expected_seconds`: the wait of a job submitted now, where the queue is the reason.
    """

    status = 400
    code = "refused"
    retry_after: int | None = None
    expected_seconds: float | None = None
    field: str | None = None
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BodyTooLarge(ApiError):
    """The body of a call is too large."""

    status, code = 413, "body_too_large"


class BodyTooSlow(ApiError):
    """The body did not arrive in time."""

    status, code = 408, "body_too_slow"
