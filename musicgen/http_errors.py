"""Errors that httpx lets through."""

from __future__ import annotations


def list_http_errors() -> tuple[type[Exception], ...]:
    """Return the base classes of all errors of a request by httpx, for an `except`.

    `httpx.HTTPError` is not the base of all: a redirect to an invalid address raises `InvalidURL`,
    and one to an impossible host name `UnicodeError`.
    """
    import httpx

    return (
        httpx.HTTPError,
        httpx.InvalidURL,
        httpx.StreamError,
        httpx.CookieConflict,
        UnicodeError,
    )
