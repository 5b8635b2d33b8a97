"""Listening sockets of a server, bound before anything else starts."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from musicgen.errors import SettingsError

RELEASE_SECONDS = 3.0
"""Time for a predecessor that has just been killed to release its port."""
_PAUSE_SECONDS = 0.1


def bind_sockets(host: str, port: int, seconds: float = RELEASE_SECONDS) -> list[socket.socket]:
    """Return a bound socket for each address of `host`; they do not listen yet.

    A port in use is tried again for `seconds`.

    Raises: `SettingsError` for a port in use, or a host that is not this machine's.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _bind_all(host, port)
        except (OSError, OverflowError) as error:
            is_used = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
            if is_used and time.monotonic() < deadline:
                time.sleep(_PAUSE_SECONDS)
                continue
            raise _build_error(host, port, error, is_used=is_used) from error


def _bind_all(host: str, port: int) -> list[socket.socket]:
    addresses = socket.getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    with contextlib.ExitStack() as stack:
        bound = []
        for family, kind, protocol, _, address in dict.fromkeys(addresses):
            try:
                listener = stack.enter_context(socket.socket(family, kind, protocol))
            except OSError:
                # This machine has no IPv6.
                continue
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
            bound.append(listener)
        stack.pop_all()
    return bound


def _build_error(
    host: str, port: int, error: OSError | OverflowError, *, is_used: bool
) -> SettingsError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if is_used:
        advice = f"Another program listens on {host}: stop it, or choose another port."
        return SettingsError("--port", "is in use", value=port, advice=advice)
    return SettingsError("--host", f"cannot be listened on: {reason}", value=f"{host}:{port}")
