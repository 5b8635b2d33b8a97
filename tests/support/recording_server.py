"""S3 endpoint on loopback that records every byte it is sent, and answers as it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DENIED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


@dataclass
class Recorder:
    """`mode`: ok, deny, away, drip, endless, hang or a redirect's status; see `_Handler`."""

    url: str = ""
    mode: str = "ok"
    location: str = ""
    connected: int = 0
    requests: list[str] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def transcript(self) -> str:
        """Request lines, headers and bodies."""
        return b"\n".join(self.heard).decode("latin-1")


@contextmanager
def record(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Recorder]:
    recorder = Recorder()

    class Web(ThreadingHTTPServer):
        daemon_threads = True

        def verify_request(self, request: Any, client_address: Any) -> bool:
            recorder.connected += 1
            return True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Says nothing of a client that hung up."""

    class Handler(_Handler):
        known = recorder

    with Web((host, 0), Handler) as web:
        recorder.url = f"{'https' if tls else 'http'}://{host}:{web.server_port}"
        if tls:
            web.socket = tls.wrap_socket(web.socket, server_side=True)
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        yield recorder
        recorder.over.set()
        web.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    known: Recorder

    def _answer(self) -> None:
        known = self.known
        length = int(self.headers.get("Content-Length") or 0)
        known.requests.append(f"{self.command} {self.path}")
        known.heard.append(f"{self.requestline}\n{self.headers}".encode())
        if known.mode == "hang":
            known.heard.append(self.rfile.read(min(length, 1000)))
            known.hanging.set()
            known.over.wait(30)
            return
        known.heard.append(self.rfile.read(length))
        with suppress(OSError):
            self._reply(known)

    def _reply(self, known: Recorder) -> None:
        if known.mode == "drip":
            self._send(200, length="100000")
            while not known.over.wait(0.1):
                self.wfile.write(b"x")
        elif known.mode == "endless":
            self._send(400, length="")
            self.close_connection = True
            while not known.over.is_set():
                self.wfile.write(bytes(2**16))
        elif known.mode == "deny":
            self._send(403, DENIED)
        elif known.mode == "away":
            self._send(503, b"<Error><Code>SlowDown</Code></Error>")
        elif known.mode.isdecimal():
            self._send(int(known.mode), location=known.location + self.path)
        else:
            upload = b"<R><UploadId>u</UploadId></R>" if "?uploads" in self.path else b""
            self._send(200, upload)

    def _send(
        self, status: int, body: bytes = b"", *, location: str = "", length: str | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        if location:
            self.send_header("Location", location)
            self.send_header("x-amz-bucket-region", "eu-west-1")
        if length != "":
            self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def __getattr__(self, name: str) -> Any:
        """Every method is answered."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *args: Any) -> None:
        """Says nothing on standard error."""
