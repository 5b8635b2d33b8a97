"""Fetching what a caller names by URL: only from public addresses, within limits of size and time.

A URL in a request makes this machine ask on the caller's behalf, and this machine may see more
than the caller does: its own services, its neighbours, a cloud's metadata. Every name, also the
one that a redirect leads to, is resolved once, and the connection is made to the very address that
was checked, so a name that resolves differently a moment later gains nothing.

httpx-secure checks the address again where the connection is made. It is given addresses, never
names: to resolve a name it would open a connection to what it then refuses, and a caller could
tell by that which ports of a private network are open.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InputAudioUnreachable
from musicgen.net.ssrf import Address, Networks, may_be_asked

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

FIELD = "input_audio"
_SHOWN_CHARACTERS = 120
_PIECE_BYTES = 2**18
_GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class DownloadLimits:
    """Bytes of the body, received and decoded; seconds for all of it, and for connecting."""

    bytes: int = 100_000_000
    seconds: float = 60.0
    connect_seconds: float = 10.0
    redirects: int = 5


@dataclass(frozen=True)
class Posted:
    """What is sent, where it is more than a question."""

    headers: Mapping[str, str]
    body: bytes


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
    `InputAudioTooLarge`, `InputAudioUnreachable` for all that a server or a network can do,
    `ValueError` for `allowed_networks` that are none.
    """
    networks = [ip_network(network) for network in allowed_networks]
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    failure: list[BaseException] = []

    def run() -> None:
        import anyio

        try:
            with explained_errors(url, limits):
                anyio.run(_fetch, url, temporary, limits, networks)
        except BaseException as error:  # handed to the thread that waits
            failure.append(error)

    try:
        # In a thread of its own, because the caller's may have a running loop already.
        thread = threading.Thread(target=run, name="guarded-download", daemon=True)
        thread.start()
        # The loop waits for a lookup of a name even after the time is over.
        thread.join(limits.seconds + _GRACE_SECONDS)
        if failure:
            raise failure[0]
        if thread.is_alive():
            raise _late(url, limits)
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


async def _fetch(url: str, target: Path, limits: DownloadLimits, networks: Networks) -> None:
    import anyio
    import httpx

    with anyio.fail_after(limits.seconds):
        tls = httpx.create_ssl_context(trust_env=False)
        place = httpx.URL(url)
        # Not httpx's own redirects: it reads their bodies into memory, however long.
        for _ in range(limits.redirects + 1):
            check_place(url, place)
            async with answer(url, place, limits, networks, tls) as response:
                if not response.has_redirect_location:
                    await _save(url, response, target, limits)
                    return
                place = place.join(response.headers["location"])
    raise _unreachable(url, f"more than {limits.redirects} redirects")


@asynccontextmanager
async def answer(
    url: str,
    place: httpx.URL,
    limits: DownloadLimits,
    networks: Networks,
    tls: SSLContext,
    posted: Posted | None = None,
) -> AsyncIterator[httpx.Response]:
    """The answer of the first address of `place` that can be connected to."""
    import httpx

    headers = {"Accept-Encoding": "identity", **(posted.headers if posted else {})}
    addresses = await permitted_addresses(url, place, networks)
    for address in addresses:
        # A client for each, so that neither a cookie nor a TLS connection, which was checked for
        # one name, serves another name of the same address.
        async with _client(limits, networks, tls) as client:
            request = client.build_request(
                "POST" if posted else "GET",
                place.copy_with(host=str(address)),
                headers={**headers, "Host": place.netloc.decode("ascii")},
                content=posted.body if posted else None,
                extensions={"sni_hostname": place.raw_host.decode("ascii")},
            )
            try:
                response = await client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if address == addresses[-1]:
                    raise
                continue
            try:
                yield response
            finally:
                await response.aclose()
            return


async def permitted_addresses(url: str, place: httpx.URL, networks: Networks) -> list[Address]:
    """What `place` resolves to and may be asked, IPv4 first: many containers have no other."""
    import anyio

    try:
        found = await anyio.getaddrinfo(
            place.raw_host.decode("ascii"), place.port, type=socket.SOCK_STREAM
        )
    except socket.gaierror:
        raise _unreachable(url, "its name is not known here") from None
    addresses = dict.fromkeys(ip_address(entry[4][0]) for entry in found)
    permitted = [address for address in addresses if may_be_asked(address, networks)]
    if not permitted:
        raise _refused(url, "it leads to an address that is not public")
    return sorted(permitted, key=lambda address: address.version)


async def _save(url: str, response: httpx.Response, target: Path, limits: DownloadLimits) -> None:
    if response.status_code != 200:
        raise _unreachable(url, f"the server answered HTTP {response.status_code}")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.bytes:
        raise _too_large(url, limits)
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip", "x-gzip", "deflate"):
        raise _unreachable(url, "the server packs it in a way that it was not asked for")
    # Not httpx's own decoding: of several layers it unpacks all, whatever they grow to.
    unpacking = None if packing == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    received = size = 0
    with target.open("xb") as file:
        async for block in response.aiter_raw():
            received += len(block)
            for piece in [block] if unpacking is None else _unpacked(unpacking, block):
                size += len(piece)
                if max(size, received) > limits.bytes:
                    raise _too_large(url, limits)
                file.write(piece)
        if unpacking is not None and not unpacking.eof:
            raise _unreachable(url, "the packed file ends too early")
        file.flush()
        os.fsync(file.fileno())


def _unpacked(unpacking: zlib._Decompress, block: bytes) -> Iterator[bytes]:
    """In pieces, so that the first one beyond a limit can be the last."""
    while block and not unpacking.eof:
        yield unpacking.decompress(block, _PIECE_BYTES)
        block = unpacking.unconsumed_tail


def _client(limits: DownloadLimits, networks: Networks, tls: SSLContext) -> httpx.AsyncClient:
    import httpx
    from httpx_secure import httpx_ssrf_protection

    client = httpx.AsyncClient(
        verify=tls,
        # A proxy of the environment would make the connection in our place, unchecked.
        trust_env=False,
        timeout=httpx.Timeout(limits.seconds, connect=limits.connect_seconds),
    )
    return httpx_ssrf_protection(
        client,
        check_globally_reachable=not networks,
        custom_validator=lambda _host, address, _port: may_be_asked(address, networks),
    )


@contextmanager
def explained_errors(url: str, limits: DownloadLimits) -> Iterator[None]:
    """Errors of the libraries as ours; none tells what a public name resolved to."""
    import httpx
    from httpx_secure import SSRFProtectionError

    try:
        yield
    except SSRFProtectionError:
        raise _refused(url, "it leads to an address that is not public") from None
    except (httpx.UnsupportedProtocol, httpx.InvalidURL, UnicodeError):
        raise _refused(url, "not a URL that can be read") from None
    except (TimeoutError, httpx.TimeoutException):
        raise _late(url, limits) from None
    except httpx.ConnectError:
        raise _unreachable(url, "no connection: check the name, the port and TLS") from None
    except (httpx.HTTPError, httpx.StreamError, zlib.error):
        raise _unreachable(url, "the connection broke before the end") from None


def check_place(url: str, place: httpx.URL) -> None:
    try:
        urlsplit(url)
        parts = urlsplit(str(place))
        readable = parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise _refused(url, "not a URL that can be read")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _refused(url, "it leads to something else than http:// or https://")
    if place.userinfo:
        raise _refused(url, "it must not hold a user name or a password")


def _shown(url: str) -> str:
    """A caller's own URL, cut, without a password: errors are logged."""
    return re.sub(r"//[^/]*@", "//…@", url[:_SHOWN_CHARACTERS])


def _refused(url: str, why: str) -> InputAudioRefused:
    return InputAudioRefused(FIELD, _shown(url), why)


def _unreachable(url: str, why: str) -> InputAudioUnreachable:
    return InputAudioUnreachable(FIELD, _shown(url), why)


def _late(url: str, limits: DownloadLimits) -> InputAudioUnreachable:
    return _unreachable(url, f"not complete within {limits.seconds:g} seconds")


def _too_large(url: str, limits: DownloadLimits) -> InputAudioTooLarge:
    return InputAudioTooLarge(FIELD, _shown(url), f"at most {limits.bytes / 1e6:g} MB are fetched")
