"""Sending to a URL that a caller names, by the rules of `musicgen.net.fetch`; no redirects."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network

from musicgen.net.fetch import (
    DownloadLimits,
    Posted,
    answer,
    check_place,
    explained_errors,
    permitted_addresses,
)

LIMITS = DownloadLimits(bytes=0, seconds=15.0, connect_seconds=5.0)


async def check(url: str, networks: tuple[str, ...] = ()) -> None:
    """Raises: `InputAudioRefused` for an address that must not be asked, `InputAudioUnreachable`
    for a name that is not known."""
    import httpx

    with explained_errors(url, LIMITS):
        place = httpx.URL(url)
        check_place(url, place)
        await permitted_addresses(url, place, [ip_network(network) for network in networks])


async def post(
    url: str, headers: Mapping[str, str], body: bytes, networks: tuple[str, ...] = ()
) -> int:
    """The status of the answer, whose body is not read.

    Raises: `InputAudioRefused`, `InputAudioUnreachable`.
    """
    import anyio
    import httpx

    allowed = [ip_network(network) for network in networks]
    with explained_errors(url, LIMITS), anyio.fail_after(LIMITS.seconds):
        tls = httpx.create_ssl_context(trust_env=False)
        place = httpx.URL(url)
        check_place(url, place)
        async with answer(url, place, LIMITS, allowed, tls, Posted(headers, body)) as response:
            return int(response.status_code)
    raise AssertionError("unreachable: an error or an answer")
