"""Sending a request until it is answered, as steps for both clients.

A call yields an `httpx.Request` or a `Pause` and receives the `httpx.Response`, or the
error of httpx as an exception. It sends nothing itself: a client runs the steps.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from musicgen_client.errors import (
    ApiError,
    ConnectionFailed,
    Refusal,
    UnexpectedAnswer,
    build_api_error,
)

T = TypeVar("T")
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 10.0
RETRY_STATUSES = (408, 425, 429, 502, 503, 504)
HTTP_ERRORS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpx.CookieConflict,
    UnicodeError,
)
"""Base classes of all errors of a request by httpx: `httpx.HTTPError` is not the base of all."""


@dataclass(frozen=True)
class Pause:
    """A wait between two requests."""

    seconds: float


@dataclass(frozen=True)
class RetryPolicy:
    """Repetitions of a call.

    `retries`: further attempts after the first. `longest_wait`: the longest Retry-After to wait
    for, in seconds; a longer one ends the call with its error.
    """

    retries: int = 4
    longest_wait: float = 60.0


Steps = Generator[httpx.Request | Pause, httpx.Response | None, T]


class Sender:
    """Sender of requests. `build_request`: that of an httpx client."""

    def __init__(self, build_request: Callable[..., httpx.Request], policy: RetryPolicy) -> None:
        self._build_request = build_request
        self.policy = policy

    def send(self, method: str, path: str, **content: Any) -> Steps[httpx.Response]:
        """Send a request until the server answers it, or the policy ends the attempts.

        Every call of this API can be repeated safely. Raises: `ApiError`, `ConnectionFailed`.
        """
        for attempt in range(1, self.policy.retries + 2):
            is_last = attempt > self.policy.retries
            response: httpx.Response | None = None
            try:
                response = yield self._build_request(method, path, **content)
            except HTTP_ERRORS as error:
                if is_last or not isinstance(error, httpx.TransportError):
                    raise describe_loss(error) from error
            seconds = compute_pause(attempt)
            if response is not None:
                if response.is_success:
                    return response
                failure = read_failure(response)
                is_longer = (failure.retry_after or 0.0) > self.policy.longest_wait
                if is_last or is_longer or response.status_code not in RETRY_STATUSES:
                    raise failure
                seconds = seconds if failure.retry_after is None else failure.retry_after
            yield Pause(seconds)
        raise AssertionError("unreachable: the last attempt returns or raises")


def compute_pause(attempt: int) -> float:
    """Return the seconds before the next attempt: growing, with jitter."""
    pause = min(FIRST_PAUSE_SECONDS * 2.0 ** (attempt - 1), LAST_PAUSE_SECONDS)
    return pause * random.uniform(0.5, 1)


def read_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Return the seconds of a Retry-After header: a number, or an HTTP date (RFC 9110, 10.2.3).

    `now`: seconds since the epoch. None for a missing or malformed header.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:12])
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, moment - (time.time() if now is None else now))


def read_failure(response: httpx.Response) -> ApiError:
    """Return the error of a refused call, with the server's message."""
    error: Any = None
    try:
        error = response.json()["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        # A proxy answers with a page.
        code, message, error = None, " ".join(response.text[:200].split()), {}
    return build_api_error(
        Refusal(
            host=response.request.url.host,
            status=response.status_code,
            code=code,
            message=message,
            field=error.get("field"),
            request_id=response.headers.get("x-request-id"),
            retry_after=read_retry_after(response.headers.get("retry-after")),
            expected_seconds=error.get("expected_seconds"),
        )
    )


def read_answer(response: httpx.Response, build: Callable[[Any], T]) -> T:
    """Return the value `build` makes of the JSON. Raises: `UnexpectedAnswer`."""
    try:
        return build(response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        shown = " ".join(response.text[:200].split())
        raise UnexpectedAnswer(
            f"the answer of {response.request.url.host} is not that of a job API (was {shown!r}). "
            "Check the address."
        ) from None


def describe_loss(error: Exception) -> ConnectionFailed:
    """Return the error of a call without an answer."""
    return ConnectionFailed(f"the server does not answer ({type(error).__name__})")
