"""Fetching by URL against real servers: one on an allowed address, one on a forbidden address."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InputAudioUnreachable
from musicgen.guarded_http import DownloadLimits, download

ALLOWED = ("127.0.0.1/32",)
FORBIDDEN_HOST = "127.0.0.2"
BODY = bytes(range(256)) * 40
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Server:
    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def _server(host: str) -> Iterator[Server]:
    known = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked.append(self.path)
            known.answers.get(self.path, _file(BODY))(self)

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with ThreadingHTTPServer((host, 0), Handler) as web:
        web.daemon_threads = True
        known.url = f"http://{host}:{web.server_port}"
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield known
        web.shutdown()


def _file(body: bytes, **headers: str) -> Answer:
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


def _status(code: int, location: str = "") -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        if location:
            to.send_header("Location", location)
        to.send_header("Content-Length", "0")
        to.end_headers()

    return answer


def _drip(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    for _ in range(600):
        try:
            to.wfile.write(b"x")
            to.wfile.flush()
        except OSError:
            return
        time.sleep(0.05)


@pytest.fixture
def allowed() -> Iterator[Server]:
    with _server("127.0.0.1") as server:
        yield server


@pytest.fixture
def forbidden() -> Iterator[Server]:
    with _server(FORBIDDEN_HOST) as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """A file to be: whatever happens, nothing else is left beside it."""
    yield tmp_path / "clip"
    assert {path.name for path in tmp_path.iterdir()} <= {"clip"}


def test_a_file_arrives_whole(allowed: Server, target: Path) -> None:
    download(f"{allowed.url}/a.wav", target, allowed_networks=ALLOWED)
    assert target.read_bytes() == BODY


def test_it_may_be_called_where_an_event_loop_runs(allowed: Server, target: Path) -> None:
    async def main() -> None:
        download(allowed.url, target, allowed_networks=ALLOWED)

    asyncio.run(main())
    assert target.read_bytes() == BODY


def test_redirects_are_followed_within_what_is_allowed(allowed: Server, target: Path) -> None:
    allowed.answers["/old"] = _status(302, "/new")
    download(f"{allowed.url}/old", target, allowed_networks=ALLOWED)
    assert allowed.asked == ["/old", "/new"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_forbidden_address_is_not_followed(
    allowed: Server, forbidden: Server, target: Path, code: int
) -> None:
    allowed.answers["/"] = _status(code, f"{forbidden.url}/secret")
    with pytest.raises(InputAudioRefused, match="not public"):
        download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert forbidden.asked == []


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://example.com/a", "gopher://x"])
def test_a_redirect_to_another_scheme_is_refused(
    allowed: Server, target: Path, location: str
) -> None:
    allowed.answers["/"] = _status(302, location)
    with pytest.raises(InputAudioRefused):
        download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert not target.exists()


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "169.254.169.254",
        "100.64.0.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ],
)
def test_no_spelling_of_a_private_address_is_asked(
    allowed: Server, target: Path, host: str
) -> None:
    """Without `allowed_networks`, as by default. Some spellings are not even addresses."""
    port = allowed.url.rpartition(":")[2]
    limits = DownloadLimits(seconds=0.5, connect_seconds=0.5)
    with pytest.raises((InputAudioRefused, InputAudioUnreachable)):
        download(f"http://{host}:{port}/", target, limits)
    assert allowed.asked == []


@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",), ALLOWED])
def test_allowing_one_network_allows_no_other(
    forbidden: Server, target: Path, networks: tuple[str, ...]
) -> None:
    with pytest.raises(InputAudioRefused, match="not public"):
        download(forbidden.url, target, allowed_networks=networks)
    assert forbidden.asked == []


def test_a_name_that_resolves_differently_a_moment_later_gains_nothing(
    allowed: Server, forbidden: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: every further question is answered with the forbidden address."""
    real, answers = socket.getaddrinfo, iter(["127.0.0.1"])

    def rebinding(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name == "rebinding.example":
            return real(next(answers, FORBIDDEN_HOST), port, *args, **options)
        return real(host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    port = allowed.url.rpartition(":")[2]
    download(f"http://rebinding.example:{port}/", target, allowed_networks=ALLOWED)
    assert (len(allowed.asked), forbidden.asked) == (1, [])


@pytest.mark.parametrize(
    "url",
    ["file:///etc/hostname", "ftp://example.com/x", "http://", "http://[", "https:///x", "//x/y"],
)
def test_only_http_urls_are_fetched(target: Path, url: str) -> None:
    with pytest.raises(InputAudioRefused):
        download(url, target)


def test_a_password_in_a_url_is_refused_and_not_repeated(target: Path) -> None:
    with pytest.raises(InputAudioRefused) as raised:
        download("http://user:hunter2@example.com/", target)
    assert "hunter2" not in str(raised.value)


def test_a_proxy_of_the_environment_is_not_asked_instead(
    allowed: Server, forbidden: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, forbidden.url)
    download(allowed.url, target, allowed_networks=ALLOWED)
    assert forbidden.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        _file(b"", Content_Length="2000"),
        _file(b"x" * 2000, Content_Length=""),
        _file(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
    ],
    ids=["announced", "without a length", "a gzip bomb"],
)
def test_a_large_body_is_refused(allowed: Server, target: Path, answer: Answer) -> None:
    allowed.answers["/"] = answer
    with pytest.raises(InputAudioTooLarge):
        download(f"{allowed.url}/", target, DownloadLimits(bytes=1000), ALLOWED)
    assert not target.exists()


def test_a_server_that_drips_is_left_in_time(allowed: Server, target: Path) -> None:
    """A limit on each read would wait for ever."""
    allowed.answers["/"] = _drip
    started = time.monotonic()
    with pytest.raises(InputAudioUnreachable, match=r"within 0\.5 seconds"):
        download(f"{allowed.url}/", target, DownloadLimits(seconds=0.5), ALLOWED)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (_status(404), "HTTP 404"),
        (_status(500), "HTTP 500"),
        (_status(204), "HTTP 204"),
        (_status(302, "/"), "5 redirects"),
        (_file(BODY, Content_Length="999999"), "broke"),
    ],
)
def test_what_a_server_does_wrong_is_said(
    allowed: Server, target: Path, answer: Answer, reason: str
) -> None:
    allowed.answers["/"] = answer
    limits = DownloadLimits(seconds=5)
    with pytest.raises(InputAudioUnreachable, match=reason):
        download(f"{allowed.url}/", target, limits, ALLOWED)
    assert not target.exists()


def test_a_port_without_tls_or_without_anybody_is_unreachable(
    allowed: Server, target: Path
) -> None:
    for url in (allowed.url.replace("http:", "https:"), "http://127.0.0.1:9/"):
        with pytest.raises(InputAudioUnreachable):
            download(url, target, DownloadLimits(seconds=5), ALLOWED)
