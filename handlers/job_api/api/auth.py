"""Authentication by API key, from a header or the web page's cookie, and rate limits."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from handlers.job_api.api.context import Context
from handlers.job_api.errors import Forbidden, RateLimited, Unauthorized, WrongKey
from handlers.job_api.store.api_keys import ANONYMOUS_CALLER, ApiCaller

COOKIE = "musicgen_key"
ELEVENLABS_HEADER = "xi-api-key"
"""Header for a key that ElevenLabs's clients send instead of Authorization."""
_BEARER = "bearer "
_SCHEME = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="API key created by `musicgen keys create`. Not needed if the API listens only on "
    "loopback. The header xi-api-key takes it too.",
)
"""Only for the OpenAPI document, because a key may also come in a cookie."""


async def authenticate(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)]
) -> ApiCaller:
    """Return the caller of a request, and count the request for the rate limit.

    Raises: `Unauthorized` without a key, `WrongKey`, `RateLimited`.
    """
    context: Context = request.app.state.context
    caller = await identify_caller(request)
    if caller is None:
        count_open_call(request)
        if _read_key(request) is not None:
            raise WrongKey
        raise Unauthorized("An API key is needed. Send the header Authorization: Bearer KEY.")
    client = find_client(request, caller)
    wait = context.rate.hit(client)
    # For the headers of the answer.
    request.state.allowance = context.rate.measure(client)
    if wait is not None:
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
        # A key sent all the same is ignored: OpenAI's clients cannot do without one.
        return ANONYMOUS_CALLER
    key = _read_key(request)
    return None if key is None else await find_caller(request, key)


def _read_key(request: Request) -> str | None:
    """Return the key of a request, from a header or the page's cookie, or None."""
    header = request.headers.get("authorization", "")
    key = header[len(_BEARER) :] if header.lower().startswith(_BEARER) else None
    return key or request.headers.get(ELEVENLABS_HEADER) or request.cookies.get(COOKIE) or None


async def find_caller(request: Request, key: str) -> ApiCaller | None:
    """Return the caller with this key, or None; count a wrong one for its address.

    Raises: `RateLimited` after too many wrong keys from an address.
    """
    context: Context = request.app.state.context
    # Nobody waits for the database to refuse one wrong key after the other.
    is_patient = not context.wrong_keys.is_reached(read_address(request))
    caller = await context.keys.find(key.strip(), is_patient=is_patient)
    if caller is None and (wait := context.wrong_keys.hit(read_address(request))) is not None:
        raise RateLimited(
            f"Too many wrong API keys from this address. Try again in {wait} s.", wait
        )
    return caller


def count_open_call(request: Request) -> None:
    """Count a call without a valid key for its address. Raises: `RateLimited`."""
    context: Context = request.app.state.context
    if (wait := context.open_calls.hit(read_address(request))) is not None:
        raise RateLimited(
            f"Too many calls without an API key from this address. Try again in {wait} s.", wait
        )


def find_client(request: Request, caller: ApiCaller) -> str:
    """Return the name under which limits count a caller.

    Without keys all requests have the same caller, so the limits count by address.
    """
    context: Context = request.app.state.context
    return caller.owner if context.needs_keys else read_address(request)


def require_scope(caller: ApiCaller, scope: str) -> None:
    """Check a scope of a caller. Raises: `Forbidden`."""
    if scope not in caller.scopes:
        raise Forbidden(f"This API key lacks the scope {scope!r}.")


async def is_operator(request: Request) -> bool:
    """Whether figures of the service may be shown: to this machine, and to the owners of keys.

    A listed proxy tells the caller's own address, see MUSICGEN_PROXIES.
    """
    with suppress(ValueError):
        if request.client is not None and ip_address(request.client.host).is_loopback:
            return True
    context: Context = request.app.state.context
    return context.needs_keys and await identify_caller(request) is not None


def read_address(request: Request) -> str:
    """Return the address of a request, of IPv6 the network that one customer has."""
    host = request.client.host if request.client else "unknown"
    with suppress(ValueError):
        address = ip_address(host)
        if address.version == 6 and address.ipv4_mapped is None:
            return str(ip_network((int(address) >> 64 << 64, 64)))
    return host
