"""Download from a caller's URL: only public addresses, with limits of size and time.

This machine can reach more than the caller can: its own services, its neighbours, a cloud's
metadata. A caller's URL must not open these (SSRF). Every host name, also one in a redirect, is
resolved once, and the connection goes to the checked address. A name with a different address a
moment later (DNS rebinding) therefore gains nothing.

httpx-secure checks the address again at connection time. It is given addresses, never names: it
resolves a name by opening a connection, even to an address it then refuses. A caller could detect
open ports of a private network by that.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from musicgen.disk_errors import translate_full_disk
from musicgen.errors import GenerationCancelled
from musicgen.errors.counts import format_count
from musicgen.net.download_errors import (
    DownloadLimits,
    build_refusal,
    build_timeout,
    build_too_large,
    build_unreachable,
    translate_errors,
)
from musicgen.net.ssrf import Address, Networks, is_allowed

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

DEFAULT_LIMITS = DownloadLimits()
_PIECE_BYTES = 2**18
_GRACE_SECONDS = 1.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class PostBody:
    """Headers and body of a POST request."""

    headers: Mapping[str, str]
    body: bytes


def download(
    url: str,
    target: Path,
    limits: DownloadLimits = DEFAULT_LIMITS,
    allowed_networks: tuple[str, ...] = (),
    cancelled: threading.Event | None = None,
) -> None:
    """Download `url` to the file `target`, which appears complete or not at all.

    `allowed_networks`: private networks to allow, such as "10.1.0.0/16". `cancelled` ends the
    download once it is set. Any thread may call this; a thread with an event loop is blocked
    meanwhile.

    Raises: `GenerationCancelled`, `InputAudioRefused` for a forbidden address or scheme,
    `InputAudioTooLarge`, `InputAudioUnreachable` for every failure of a server or network,
    `ValueError` for invalid `allowed_networks`.
    """
    networks = [ip_network(network) for network in allowed_networks]
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    failure: list[BaseException] = []

    def run() -> None:
        import anyio

        try:
            with translate_errors(url, limits):
                anyio.run(_fetch_unless, cancelled, url, temporary, limits, networks)
        except BaseException as error:  # raised again in the waiting thread
            failure.append(error)

    try:
        # A thread of its own, because the caller's may already run an event loop.
        thread = threading.Thread(target=run, name="guarded-download", daemon=True)
        thread.start()
        # A DNS lookup cannot be cancelled, so the event loop may outlast the time limit.
        end = time.monotonic() + limits.seconds + _GRACE_SECONDS
        while thread.is_alive() and time.monotonic() < end:
            thread.join(_POLL_SECONDS)
            if cancelled is not None and cancelled.is_set():
                raise GenerationCancelled("The request was cancelled.")
        if failure:
            raise failure[0]
        if thread.is_alive():
            raise build_timeout(url, limits)
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink()


async def _fetch_unless(
    cancelled: threading.Event | None, url: str, target: Path, limits: DownloadLimits, *rest: Any
) -> None:
    """Fetch a URL, or close the connection soon after `cancelled` was set."""
    import anyio

    async with anyio.create_task_group() as group:

        async def watch(event: threading.Event) -> None:
            while not event.is_set():
                await anyio.sleep(_POLL_SECONDS)
            group.cancel_scope.cancel()

        if cancelled is not None:
            group.start_soon(watch, cancelled)
        failure: Exception | None = None
        try:
            await _fetch(url, target, limits, *rest)
        except Exception as error:
            # A group would wrap it.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _fetch(url: str, target: Path, limits: DownloadLimits, networks: Networks) -> None:
    import anyio
    import httpx

    with anyio.fail_after(limits.seconds):
        tls = httpx.create_ssl_context(trust_env=False)
        location = httpx.URL(url)
        # httpx's own redirects would read a body of any length into memory.
        for _ in range(limits.redirects + 1):
            check_location(url, location)
            async with open_response(url, location, limits, networks, tls) as response:
                if not response.has_redirect_location:
                    await _save(url, response, target, limits)
                    return
                location = location.join(response.headers["location"])
    raise build_unreachable(url, f"more than {format_count(limits.redirects, 'redirect')}")


@asynccontextmanager
async def open_response(
    url: str,
    location: httpx.URL,
    limits: DownloadLimits,
    networks: Networks,
    tls: SSLContext,
    post: PostBody | None = None,
) -> AsyncIterator[httpx.Response]:
    """Open a response, from the first address of `location` with a working connection.

    `url`: the caller's own, for error messages. Raises: errors of httpx, `InputAudioRefused`,
    `InputAudioUnreachable`.
    """
    import httpx

    headers = {"Accept-Encoding": "identity", **(post.headers if post else {})}
    addresses = await resolve_permitted(url, location, networks)
    for address in addresses:
        # A new client for each address: a cookie or TLS connection, checked for one name, must not
        # serve another name of the same address.
        async with _client(limits, networks, tls) as client:
            request = client.build_request(
                "POST" if post else "GET",
                location.copy_with(host=str(address)),
                headers={**headers, "Host": location.netloc.decode("ascii")},
                content=post.body if post else None,
                extensions={"sni_hostname": location.raw_host.decode("ascii")},
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


async def resolve_permitted(url: str, location: httpx.URL, networks: Networks) -> list[Address]:
    """Resolve `location` and return its permitted addresses.

    IPv4 comes first, because many containers have no IPv6. Raises: `InputAudioRefused`,
    `InputAudioUnreachable`.
    """
    import anyio

    try:
        entries = await anyio.getaddrinfo(
            location.raw_host.decode("ascii"), location.port, type=socket.SOCK_STREAM
        )
    except socket.gaierror:
        raise build_unreachable(url, "the host name is unknown") from None
    addresses = dict.fromkeys(ip_address(entry[4][0]) for entry in entries)
    permitted = [address for address in addresses if is_allowed(address, networks)]
    if not permitted:
        raise build_refusal(url, "leads to an address that is not public")
    return sorted(permitted, key=lambda address: address.version)


async def _save(url: str, response: httpx.Response, target: Path, limits: DownloadLimits) -> None:
    if response.status_code != 200:
        raise build_unreachable(url, f"the server answered HTTP {response.status_code}")
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limits.bytes:
        raise build_too_large(url, limits)
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing not in ("identity", "gzip", "x-gzip", "deflate"):
        raise build_unreachable(
            url, f"the server uses an unsupported Content-Encoding ({packing[:40]})"
        )
    # httpx's own decoding would unpack several layers without a limit of size.
    unpacking = None if packing == "identity" else zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    received = size = 0
    with target.open("xb") as file:
        async for block in response.aiter_raw():
            received += len(block)
            for piece in [block] if unpacking is None else _decompress(unpacking, block):
                size += len(piece)
                if max(size, received) > limits.bytes:
                    raise build_too_large(url, limits)
                with translate_full_disk(target.parent):
                    file.write(piece)
        if unpacking is not None and not unpacking.eof:
            raise build_unreachable(url, "the compressed file ends too early")
        with translate_full_disk(target.parent):
            file.flush()
            os.fsync(file.fileno())


def _decompress(unpacking: zlib._Decompress, block: bytes) -> Iterator[bytes]:
    """Decompress a block in pieces, so that the caller can stop at its limit."""
    while block and not unpacking.eof:
        yield unpacking.decompress(block, _PIECE_BYTES)
        block = unpacking.unconsumed_tail


def _client(limits: DownloadLimits, networks: Networks, tls: SSLContext) -> httpx.AsyncClient:
    import httpx
    from httpx_secure import httpx_ssrf_protection

    client = httpx.AsyncClient(
        verify=tls,
        # A proxy from the environment would connect without our checks.
        trust_env=False,
        timeout=httpx.Timeout(limits.seconds, connect=limits.connect_seconds),
    )
    return httpx_ssrf_protection(
        client,
        check_globally_reachable=not networks,
        custom_validator=lambda _host, address, _port: is_allowed(address, networks),
    )


def check_location(url: str, location: httpx.URL) -> None:
    """Check the scheme, host and port of a URL. Raises: `InputAudioRefused`."""
    try:
        urlsplit(url)
        parts = urlsplit(str(location))
        readable = parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        raise build_refusal(url, "is not a valid URL")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise build_refusal(url, "must begin with http:// or https://")
    if location.userinfo:
        raise build_refusal(url, "must not contain a user name or password")
