"""Answers of a web server that breaks off, stalls, refuses or lies, for `http.server`."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

Handler = BaseHTTPRequestHandler
Breakage = Callable[[Handler, bytes], None]
STALLED = threading.Event()
"""Set to let go of stalled answers."""
OUTLASTED = threading.Event()
"""Set by a stalled answer whose reader has not given up."""
_STALL_SECONDS = 60.0


class Times:
    """Answers with `breakage` so many times; later requests are left to the server."""

    def __init__(self, breakage: Breakage, count: int = 1_000_000) -> None:
        self._breakage = breakage
        self.left = count

    def __call__(self, handler: Handler, body: bytes) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        handler.close_connection = True
        self._breakage(handler, body)
        return True


def reset_after(count: int) -> Breakage:
    """Send so many bytes of the body, then reset the connection (RST)."""

    def answer(handler: Handler, body: bytes) -> None:
        _send_part(handler, body, count)
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # The data sent must arrive first: a reset deletes what the reader has not read.
        _wait_until_read(handler.connection)
        handler.connection.close()

    return answer


def close_after(count: int) -> Breakage:
    """Send so many bytes of the body, then close the connection in order."""
    return lambda handler, body: _send_part(handler, body, count)


def stall_after(count: int) -> Breakage:
    """Send so many bytes of the body, then nothing."""

    def answer(handler: Handler, body: bytes) -> None:
        _send_part(handler, body, count)
        if not STALLED.wait(_STALL_SECONDS):
            OUTLASTED.set()

    return answer


def refuse(status: int, **headers: str) -> Breakage:
    """Answer with a status and a short page."""
    return answer_with(b"<html>\n<p>This proxy says\nno.</p>\n</html>", status, **headers)


def answer_with(page: bytes, status: int = 200, **headers: str) -> Breakage:
    """Answer with a status and a page."""

    def answer(handler: Handler, _: bytes) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    return answer


def redirect(location: str) -> Breakage:
    """Redirect to an address that leads nowhere."""
    return refuse(302, Location=location)


def send_too_little(handler: Handler, body: bytes) -> None:
    """Announce and send half of the body."""
    _send_head(handler, len(body) // 2)
    handler.wfile.write(body[: len(body) // 2])


def send_too_much(handler: Handler, body: bytes) -> None:
    """Announce and send more than the body."""
    _send_head(handler, len(body) + 1000)
    handler.wfile.write(body + bytes(1000))


def send_no_http(handler: Handler, _: bytes) -> None:
    """Send a line of another protocol."""
    handler.wfile.write(b"220 mail.example ESMTP\r\n")


def _send_part(handler: Handler, body: bytes, count: int) -> None:
    _send_head(handler, len(body))
    handler.wfile.write(body[:count])
    handler.wfile.flush()


def _send_head(handler: Handler, size: int) -> None:
    is_part = "Range" in handler.headers
    handler.send_response(206 if is_part else 200)
    handler.send_header("Content-Length", str(size))
    if is_part:
        start = int(handler.headers["Range"][6:].partition("-")[0])
        handler.send_header("Content-Range", f"bytes {start}-{start + size - 1}/{start + size}")
    handler.end_headers()


def _wait_until_read(connection: socket.socket) -> None:
    """Wait until the other end has acknowledged all bytes, for half a second at most."""
    import fcntl
    import termios
    import time

    for _ in range(100):
        pending = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4))
        if pending[0] == 0:
            break
        time.sleep(0.005)
    time.sleep(0.05)
