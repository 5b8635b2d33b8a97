"""Connections to a caller's server: every one to a checked address, all of them until a deadline.

A host name is resolved for each connection, and the connection goes to an address that was checked,
so a name with another address a moment later (DNS rebinding) gains nothing. Certificates and the
Host header keep the name.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address, ip_network

from musicgen.net.ssrf import Address, Networks, is_allowed

POLL_SECONDS = 0.1


class AddressRefused(Exception):
    """The host has no permitted address, or no address at all."""


class PinnedConnections:
    """Sockets to permitted addresses: public ones with TLS, and `networks` with and without it.

    Thread-safe. Raises: `ValueError` for invalid `networks`.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks: Networks = [ip_network(network) for network in networks]
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._is_over = False

    def resolve(self, host: str, port: int, *, is_encrypted: bool) -> list[Address]:
        """Return the permitted addresses of a host, IPv4 first. Raises: `AddressRefused`."""
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            # An unknown name and a forbidden address must look the same.
            raise AddressRefused from None
        addresses = dict.fromkeys(ip_address(entry[4][0]) for entry in entries)
        permitted = [a for a in addresses if self._permits(a, is_encrypted=is_encrypted)]
        if not permitted:
            raise AddressRefused
        return sorted(permitted, key=lambda address: address.version)

    def connect(
        self, host: str, port: int, seconds: float | None, *, is_encrypted: bool
    ) -> socket.socket:
        """Connect to the first permitted address that answers within `seconds`.

        Raises: `AddressRefused`; `OSError`, also after the end of `limit_time`.
        """
        failure: OSError = ConnectionAbortedError("the time is over")
        for address in self.resolve(host, port, is_encrypted=is_encrypted):
            if self._is_over:
                break
            try:
                connection = socket.create_connection((str(address), port), seconds)
            except OSError as error:
                failure = error
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._remember(connection):
                return connection
            connection.close()
        raise failure

    @contextmanager
    def limit_time(
        self, seconds: float, cancelled: threading.Event | None = None
    ) -> Iterator[None]:
        """End every connection on leaving the context, after `seconds`, or once `cancelled` is set.

        A timeout of a socket limits one read only: a server that sends a byte now and then would
        hold its client for ever.
        """
        self._is_over = False
        left, end = threading.Event(), time.monotonic() + seconds
        watch = partial(self._end_in_time, left, end, cancelled or threading.Event())
        threading.Thread(target=watch, name="upload limit", daemon=True).start()
        try:
            yield
        finally:
            left.set()
            self._end()

    def _end_in_time(self, left: threading.Event, end: float, cancelled: threading.Event) -> None:
        while not left.wait(POLL_SECONDS):
            if cancelled.is_set() or time.monotonic() >= end:
                self._end()
                return

    def _permits(self, address: Address, *, is_encrypted: bool) -> bool:
        if is_encrypted:
            return is_allowed(address, self._networks)
        return any(address in network for network in self._networks)

    def _remember(self, connection: socket.socket) -> bool:
        """Keep a duplicate, because TLS takes the descriptor away from its socket."""
        with self._lock:
            if not self._is_over:
                self._open.append(connection.dup())
            return not self._is_over

    def _end(self) -> None:
        with self._lock:
            self._is_over = True
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()
            self._open.clear()
