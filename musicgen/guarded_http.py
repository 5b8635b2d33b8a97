"""Fetching what a caller names by URL: only from public addresses, within limits of size and time.

A URL in a request makes this machine ask on the caller's behalf, and this machine may see more
than the caller does: its own services, its neighbours, a cloud's metadata. The address is checked
after it is resolved and again after every redirect, and the connection is made to the very address
that was checked, so a name that resolves differently a moment later gains nothing. The check is
httpx-secure's; to find an address it may open a connection and close it unused.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InputAudioUnreachable

if TYPE_CHECKING:
    import httpx

FIELD = "input_audio"
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class DownloadLimits:
    """Bytes of the body, received and decoded; seconds for all of it, and for connecting."""

    bytes: int = 100_000_000
    seconds: float = 60.0
    connect_seconds: float = 10.0
    redirects: int = 5


def download(
    url: str,
    target: Path,
    limits: DownloadLimits = DownloadLimits(),
    allowed_networks: tuple[str, ...] = (),
) -> None:
    """Fetches `url` into the file `target`, which appears complete or not at all.

    `allowed_networks`, such as "10.1.0.0/16", are private ones that may be asked all the same.
    May be called from any thread, also one that runs an event loop, which it then blocks.

    Raises: `InputAudioRefused` for an address or scheme that must not be asked,
    `InputAudioTooLarge`, `InputAudioUnreachable` for all that a server or a network can do.
    """
    _check_url(url)
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    failure: list[BaseException] = []

    def run() -> None:
        import anyio

        try:
            with _explained(url, limits):
                anyio.run(_fetch, url, temporary, limits, allowed_networks)
        except BaseException as error:  # handed to the thread that waits
            failure.append(error)

    try:
        # In a thread of its own, because the caller's may have a running loop already.
        thread = threading.Thread(target=run, name="guarded-download")
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


async def _fetch(
    url: str, target: Path, limits: DownloadLimits, allowed_networks: tuple[str, ...]
) -> None:
    import anyio

    with anyio.fail_after(limits.seconds):
        async with (
            _client(limits, allowed_networks) as client,
            client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            if response.status_code != 200:
                raise _unreachable(url, f"the server answered HTTP {response.status_code}")
            announced = response.headers.get("content-length", "")
            if announced.isdecimal() and int(announced) > limits.bytes:
                raise _too_large(url, limits)
            with target.open("xb") as file:
                size = 0
                async for block in response.aiter_bytes():
                    size += len(block)
                    if max(size, response.num_bytes_downloaded) > limits.bytes:
                        raise _too_large(url, limits)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())


def _client(limits: DownloadLimits, allowed_networks: tuple[str, ...]) -> httpx.AsyncClient:
    import httpx
    from httpx_secure import httpx_ssrf_protection

    client = httpx.AsyncClient(
        # A proxy of the environment would make the connection in our place, unchecked.
        trust_env=False,
        follow_redirects=True,
        max_redirects=limits.redirects,
        timeout=httpx.Timeout(limits.seconds, connect=limits.connect_seconds),
    )
    networks = [ip_network(network) for network in allowed_networks]

    def may_be_asked(_host: str, address: IPv4Address | IPv6Address, _port: int) -> bool:
        return _is_public(address) or any(address in network for network in networks)

    return httpx_ssrf_protection(
        client, check_globally_reachable=not networks, custom_validator=may_be_asked
    )


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    """Also looks at an IPv4 address inside an IPv6 one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped
        if address in _NAT64:
            inner = IPv4Address(address.packed[-4:])
        elif address in _6TO4:
            inner = IPv4Address(address.packed[2:6])
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast


@contextmanager
def _explained(url: str, limits: DownloadLimits) -> Iterator[None]:
    """Errors of the libraries as ours; none tells what a public name resolved to."""
    import httpx
    from httpx_secure import SSRFProtectionError

    try:
        yield
    except SSRFProtectionError:
        raise _refused(url, "it leads to an address that is not public") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL):
        raise _refused(url, "it leads to something else than http(s)") from None
    except httpx.TooManyRedirects:
        raise _unreachable(url, f"more than {limits.redirects} redirects") from None
    except (TimeoutError, httpx.TimeoutException):
        raise _unreachable(url, f"not complete within {limits.seconds:g} seconds") from None
    except httpx.ConnectError:
        raise _unreachable(url, "no connection: check the name, the port and TLS") from None
    except (httpx.HTTPError, httpx.StreamError):
        raise _unreachable(url, "the connection broke before the end") from None


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, user = parts.hostname, parts.username
    except ValueError:
        raise _refused(url, "not a URL that can be read") from None
    if parts.scheme.lower() not in ("http", "https") or not host:
        raise _refused(url, "only http:// and https:// are fetched")
    if user is not None:
        raise InputAudioRefused(FIELD, "a URL", "it must not hold a user name or a password")


def _refused(url: str, why: str) -> InputAudioRefused:
    return InputAudioRefused(FIELD, url[:_SHOWN_CHARACTERS], why)


def _unreachable(url: str, why: str) -> InputAudioUnreachable:
    return InputAudioUnreachable(FIELD, url[:_SHOWN_CHARACTERS], why)


def _too_large(url: str, limits: DownloadLimits) -> InputAudioTooLarge:
    return InputAudioTooLarge(
        FIELD, url[:_SHOWN_CHARACTERS], f"at most {limits.bytes / 1e6:g} MB are fetched"
    )
