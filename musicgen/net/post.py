"""POST requests to a caller's URL, by the rules of `musicgen.net.fetch`; no redirects."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from musicgen.net.download_errors import DownloadLimits, translate_errors
from musicgen.net.fetch import (
    PostBody,
    check_location,
    open_response,
    resolve_permitted,
)

LIMITS = DownloadLimits(bytes=0, seconds=15.0, connect_seconds=5.0)


async def check(url: str, networks: tuple[str, ...] = ()) -> None:
    """Check that a URL may be requested.

    Raises: `InputAudioRefused` for a forbidden address, `InputAudioUnreachable` for an unknown host
    name.
    """
    import httpx

    with translate_errors(url, LIMITS):
        location = httpx.URL(url)
        check_location(url, location)
        await resolve_permitted(url, location, [ip_network(network) for network in networks])


async def post(
    url: str, headers: Mapping[str, str], body: bytes, networks: tuple[str, ...] = ()
) -> int:
    """Send a POST request and return the HTTP status; the body of the response is not read.

    Raises: `InputAudioRefused`, `InputAudioUnreachable`.
    """
    import anyio
    import httpx

    allowed = [ip_network(network) for network in networks]
    with translate_errors(url, LIMITS), anyio.fail_after(LIMITS.seconds):
        tls = httpx.create_ssl_context(trust_env=False)
        location = httpx.URL(url)
        check_location(url, location)
        async with open_response(
            url, location, LIMITS, allowed, tls, PostBody(headers, body)
        ) as response:
            return int(response.status_code)
    raise AssertionError("unreachable: an error or a response")
