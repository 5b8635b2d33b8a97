"""Authentication by API key, from a header or the web page's cookie, and rate limits."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from handlers.job_api.api.context import Context
from handlers.job_api.errors import Forbidden, RateLimited, Unauthorized
from handlers.job_api.store.api_keys import ANONYMOUS_CALLER, ApiCaller, find_caller

COOKIE = "musicgen_key"
_BEARER = "bearer "
_SCHEME = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="API key created by `musicgen keys create`. Not needed if the API listens only on "
    "loopback.",
)
"""Only for the OpenAPI document, because a key may also come in a cookie."""


async def authenticate(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]
) -> ApiCaller:
    """Return the caller of a request, and count the request for the rate limit.

    Raises: `Unauthorized`, `RateLimited`.
    """
    context: Context = request.app.state.context
    caller = await identify_caller(request)
    if caller is None:
        raise Unauthorized("An API key is needed. Send the header Authorization: Bearer KEY.")
    if (wait := context.rate.hit(find_client(request, caller))) is not None:
        raise RateLimited(
            f"Too many calls: the limit is {context.settings.rate_limit}. Try again in {wait} s.",
            wait,
        )
    return caller


async def identify_caller(request: Request) -> ApiCaller | None:
    """Return the caller of a request, or None for a missing or wrong key.

    Raises: `RateLimited` after too many wrong keys from an address.
    """
    context: Context = request.app.state.context
    if not context.needs_keys:
        return ANONYMOUS_CALLER
    header = request.headers.get("authorization", "")
    key = header[len(_BEARER) :] if header.lower().startswith(_BEARER) else None
    key = key or request.cookies.get(COOKIE)
    if not key:
        return None
    caller = await find_caller(context.pool, key.strip())
    if caller is None:
        count_wrong_key(request)
    return caller


def count_wrong_key(request: Request) -> None:
    """Count a wrong key for the address of a request. Raises: `RateLimited`."""
    context: Context = request.app.state.context
    if (wait := context.wrong_keys.hit(_address(request))) is not None:
        raise RateLimited(
            f"Too many wrong API keys from this address. Try again in {wait} s.", wait
        )


def find_client(request: Request, caller: ApiCaller) -> str:
    """Return the name under which limits count a caller.

    Without keys all requests have the same caller, so the limits count by address.
    """
    context: Context = request.app.state.context
    return caller.owner if context.needs_keys else _address(request)


def require_scope(caller: ApiCaller, scope: str) -> None:
    """Check a scope of a caller. Raises: `Forbidden`."""
    if scope not in caller.scopes:
        raise Forbidden(f"This API key lacks the scope {scope!r}.")


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
