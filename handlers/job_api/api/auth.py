"""Who calls: by a key in a header, or in the cookie of the web page; and how often."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from handlers.job_api.api.context import Context
from handlers.job_api.errors import KeyNeeded, NotAllowed, TooManyCalls
from handlers.job_api.store.api_keys import NOBODY, Caller, caller_of

COOKIE = "musicgen_key"
_BEARER = "bearer "
_SCHEME = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="A key of `musicgen keys create`. Not needed where the API listens on loopback.",
)
"""For the OpenAPI document alone: a key may also come in a cookie."""


async def caller(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]
) -> Caller:
    """Raises: `KeyNeeded`, `TooManyCalls`."""
    context: Context = request.app.state.context
    found = await found_caller(request)
    if found is None:
        raise KeyNeeded("send an API key: Authorization: Bearer KEY")
    # Where nobody has a key, everybody on this machine is one caller, but each address counts.
    of = found.owner if context.needs_keys else _address(request)
    if (wait := context.rate.wait(of)) is not None:
        raise TooManyCalls(f"more than {context.settings.rate_limit}: call again later", wait)
    return found


async def found_caller(request: Request) -> Caller | None:
    """None for a missing or wrong key, where keys are needed."""
    context: Context = request.app.state.context
    if not context.needs_keys:
        return NOBODY
    header = request.headers.get("authorization", "")
    key = header[len(_BEARER) :] if header.lower().startswith(_BEARER) else None
    key = key or request.cookies.get(COOKIE)
    if not key:
        return None
    found = await caller_of(context.pool, key.strip())
    if found is None and (wait := context.wrong_keys.wait(_address(request))) is not None:
        raise TooManyCalls("too many wrong keys from this address", wait)
    return found


def require(who: Caller, scope: str) -> None:
    """Raises: `NotAllowed`."""
    if scope not in who.scopes:
        raise NotAllowed(f"this key lacks the scope {scope!r}")


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"
