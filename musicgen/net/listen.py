"""Listening sockets of a server, bound before anything else starts."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

from musicgen.errors import SettingsError

RELEASE_SECONDS = 2.0
"""Time for a predecessor that has just been killed to release its port."""
_PAUSE_SECONDS = 0.1
_HOSTS = "Use 127.0.0.1, 0.0.0.0 or an address of this machine as host."


def bind_sockets(host: str, port: int, variable: str = "--port") -> list[socket.socket]:
    """Return a bound socket for each address of `host`; they do not listen yet.

    A port in use is tried again for `RELEASE_SECONDS`. `variable`: the setting of the port.

    Raises: `SettingsError` for a port in use, or a host that is not this machine's.
    """
    deadline = time.monotonic() + RELEASE_SECONDS
    while True:
        try:
            return _bind_all(host, port)
        except (OSError, OverflowError, UnicodeError) as error:
            number = error.errno if isinstance(error, OSError) else None
            if number != errno.EADDRINUSE or time.monotonic() > deadline:
                raise _build_error(variable, host, port, error) from None
        time.sleep(_PAUSE_SECONDS)


def describe_address(host: str, port: int) -> str:
    """Return the first line of a server's log: the addresses for a browser and for programs."""
    everywhere = host in ("", "0.0.0.0", "::")
    name = "localhost" if everywhere else f"[{host}]" if ":" in host else host
    more = f" (listening on all addresses of this machine, {host or '*'})" if everywhere else ""
    return f"Web page: http://{name}:{port}  API documentation: http://{name}:{port}/docs{more}"


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


def _build_error(variable: str, host: str, port: int, error: Exception) -> SettingsError:
    number = error.errno if isinstance(error, OSError) else None
    reason = error.strerror if isinstance(error, OSError) else str(error)
    problem, advice = {
        errno.EADDRINUSE: (
            f"must be a free port of {host}",
            "Another process listens there: stop it, or choose another port.",
        ),
        errno.EADDRNOTAVAIL: (
            f"cannot be opened on {host}, no address of this machine",
            _HOSTS,
        ),
        errno.EACCES: (
            f"must be a port of {host} open to this process's user",
            "Ports below 1024 belong to root.",
        ),
    }.get(number or 0, (f"cannot be opened on {host}", f"{reason}. {_HOSTS}"))
    return SettingsError(variable, problem, value=port, advice=advice)
