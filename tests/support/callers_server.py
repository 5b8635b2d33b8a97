"""Web servers for downloads from a caller's URL: correct, slow, endless, or with TLS."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ALLOWED = ("127.0.0.1/32",)
FORBIDDEN_HOST = "127.0.0.2"
BODY = bytes(range(256)) * 40
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    """`connected` counts connections, also those on which nothing was asked."""

    url: str = ""
    connected: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def serve(host: str, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    known = Server()

    class Web(ThreadingHTTPServer):
        daemon_threads = True

        def verify_request(self, request: Any, client_address: Any) -> bool:
            known.connected += 1
            return True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Says nothing of a client that hung up."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(self.path)
            known.answers.get(self.path, answer_file(BODY))(self)

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with Web((host, 0), Handler) as web:
        known.url = f"http://{host}:{web.server_port}"
        if tls:
            web.socket = tls.wrap_socket(web.socket, server_side=True)
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        yield known
        web.shutdown()


def answer_file(body: bytes, **headers: str) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        for name, value in ({"Content_Length": str(len(body))} | headers).items():
            if value:
                to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        # The other side may have read enough and hung up.
        try:
            to.wfile.write(body)
        except OSError:
            to.close_connection = True

    return answer


def answer_status(code: int, location: str = "") -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        if location:
            to.send_header("Location", location)
        to.send_header("Content-Length", "0")
        to.end_headers()

    return answer


def answer_slowly(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    for _ in range(600):
        try:
            to.wfile.write(b"x")
            to.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


def answer_endlessly(code: int, sent: list[int] | None = None) -> Answer:
    """64 MB, if anybody reads so much; `sent` gets the size of each block that was taken."""

    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        to.send_header("Location", "/next")
        to.end_headers()
        # The other side hangs up, as it does not want to read all this.
        with suppress(OSError):
            for _ in range(1024):
                to.wfile.write(bytes(2**16))
                if sent is not None:
                    sent.append(2**16)
        to.close_connection = True

    return answer


def fake_resolver(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
    """Resolves `names` to those addresses and no other name. Returns the questions asked."""
    real, questions = socket.getaddrinfo, list[str]()

    def resolve(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        questions.append(name)
        addresses = names.get(name)
        if addresses is None:
            options["flags"] = socket.AI_NUMERICHOST
            return real(name, port, *args[:3], **options)
        return [each for one in addresses for each in real(one, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return questions


def make_certificate(folder: Path, name: str) -> Path:
    """Signed by itself, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "server.pem"
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
