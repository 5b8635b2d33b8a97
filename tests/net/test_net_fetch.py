"""Fetching by URL against real servers: one on an allowed address, one on a forbidden address."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InputAudioUnreachable
from musicgen.net.fetch import DownloadLimits, download
from tests.support import ROOT

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
def _server(host: str, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
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
            known.answers.get(self.path, _file(BODY))(self)

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with Web((host, 0), Handler) as web:
        known.url = f"http://{host}:{web.server_port}"
        if tls:
            web.socket = tls.wrap_socket(web.socket, server_side=True)
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
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


def _endless(code: int, sent: list[int] | None = None) -> Answer:
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


def _resolver(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> list[str]:
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
    with pytest.raises(InputAudioRefused, match="not public") as raised:
        download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert forbidden.connected == 0
    assert FORBIDDEN_HOST not in str(raised.value)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/hostname", "ftp://example.com/a", "gopher://x", "http://u:p@127.0.0.1/"],
)
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
        "127.0.1",
        "0177.1",
        "[::]",
        "[::7f00:1]",
        "[::ffff:0:7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "192.0.0.192",
        "168.63.129.16",
    ],
)
def test_no_spelling_of_a_private_address_is_asked(
    allowed: Server, target: Path, host: str
) -> None:
    """Without `allowed_networks`, as by default."""
    port = allowed.url.rpartition(":")[2]
    with pytest.raises(InputAudioRefused):
        download(f"http://{host}:{port}/", target)
    assert allowed.connected == 0


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("metadata.google.internal", "169.254.169.254"),
        ("shared.example", "100.64.0.1"),
        ("mapped.example", "::ffff:10.0.0.1"),
        ("local.example", "fe80::1"),
    ],
)
def test_a_name_of_a_private_address_is_refused_and_not_told(
    target: Path, monkeypatch: pytest.MonkeyPatch, name: str, address: str
) -> None:
    _resolver(monkeypatch, {name: [address]})
    with pytest.raises(InputAudioRefused, match="not public") as raised:
        download(f"http://{name}/", target)
    assert address not in str(raised.value)


def test_nobody_learns_which_ports_of_a_private_network_are_open(
    forbidden: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _resolver(monkeypatch, {"inside.example": [FORBIDDEN_HOST]})
    told = []
    for port in (forbidden.url.rpartition(":")[2], "9"):
        with pytest.raises(InputAudioRefused) as raised:
            download(f"http://inside.example:{port}/", target, allowed_networks=ALLOWED)
        told.append(raised.value.allowed)
    assert told[0] == told[1]
    assert forbidden.connected == 0


@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",), ALLOWED])
def test_allowing_one_network_allows_no_other(
    forbidden: Server, target: Path, networks: tuple[str, ...]
) -> None:
    with pytest.raises(InputAudioRefused, match="not public"):
        download(forbidden.url, target, allowed_networks=networks)
    assert forbidden.connected == 0


@pytest.mark.parametrize("network", ["10.1.2.3/16", "intranet", ""])
def test_a_network_that_is_none_is_an_error_of_the_operator(target: Path, network: str) -> None:
    with pytest.raises(ValueError):
        download("http://example.com/", target, allowed_networks=(network,))


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
    assert (len(allowed.asked), forbidden.connected) == (1, 0)
    # A second download asks again, and meets the second answer.
    with pytest.raises(InputAudioRefused):
        download(f"http://rebinding.example:{port}/", target, allowed_networks=ALLOWED)
    assert forbidden.connected == 0


def test_of_several_addresses_only_a_permitted_one_is_asked(
    allowed: Server, forbidden: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that does not answer gives way to the next."""
    both = ["127.0.0.3", "127.0.0.1"]
    _resolver(monkeypatch, {"mixed.example": [FORBIDDEN_HOST, *both]})
    port = allowed.url.rpartition(":")[2]
    networks = ("127.0.0.1/32", "127.0.0.3/32")
    download(f"http://mixed.example:{port}/", target, allowed_networks=networks)
    assert target.read_bytes() == BODY
    assert forbidden.connected == 0


@pytest.mark.parametrize("name", ["clips.example", "other.example"])
def test_tls_is_checked_for_the_name_although_an_address_is_asked(
    target: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any, name: str
) -> None:
    certificate = _certificate(tmp_path_factory.mktemp("tls"), "clips.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusting)
    _resolver(monkeypatch, {name: ["127.0.0.1"]})
    with _server("127.0.0.1", serving) as server:
        hosts: list[str | None] = []

        def answer(to: BaseHTTPRequestHandler) -> None:
            hosts.append(to.headers["Host"])
            _file(BODY)(to)

        server.answers["/"] = answer
        port = server.url.rpartition(":")[2]
        if name == "clips.example":
            download(f"https://{name}:{port}/", target, allowed_networks=ALLOWED)
            assert hosts == [f"{name}:{port}"]
        else:
            with pytest.raises(InputAudioUnreachable, match="TLS"):
                download(f"https://{name}:{port}/", target, allowed_networks=ALLOWED)
            assert hosts == []


def _certificate(folder: Path, name: str) -> Path:
    """Signed by itself, with its key in the same file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(timezone.utc)
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


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://example.com/x",
        "http://",
        "http://[",
        "https:///x",
        "//x/y",
        "http://example.com:99999/",
        "http://example.com/\ud800",
    ],
)
def test_only_http_urls_are_fetched(target: Path, url: str) -> None:
    with pytest.raises(InputAudioRefused):
        download(url, target)


@pytest.mark.parametrize("scheme", ["http", "https", "ftp"])
def test_a_password_in_a_url_is_refused_and_not_repeated(target: Path, scheme: str) -> None:
    with pytest.raises(InputAudioRefused) as raised:
        download(f"{scheme}://user:hunter2@example.com/", target)
    assert "hunter2" not in str(raised.value)


@settings(max_examples=40, deadline=None)
@given(rest=st.text(st.characters() | st.sampled_from("\ud800%@:/[]#?"), max_size=40))
def test_any_url_ends_in_an_error_for_the_caller(
    tmp_path_factory: pytest.TempPathFactory, rest: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _resolver(patch, {})
        target = tmp_path_factory.getbasetemp() / "never"
        with pytest.raises((InputAudioRefused, InputAudioUnreachable)):
            download(f"http://127.0.0.1{rest}", target)
        assert not target.exists()


def test_a_proxy_of_the_environment_is_not_asked_instead(
    allowed: Server, forbidden: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, forbidden.url)
    download(allowed.url, target, allowed_networks=ALLOWED)
    assert (allowed.asked, forbidden.connected) == (["/"], 0)


@pytest.mark.parametrize(
    "answer",
    [
        _file(b"", Content_Length="2000"),
        _file(b"x" * 2000, Content_Length=""),
        _endless(200),
        _file(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
        _file(gzip.compress(b"") + bytes(2000), Content_Encoding="gzip", Content_Length=""),
    ],
    ids=["announced", "without a length", "endless", "a gzip bomb", "behind the gzip"],
)
def test_a_large_body_is_refused(allowed: Server, target: Path, answer: Answer) -> None:
    allowed.answers["/"] = answer
    with pytest.raises(InputAudioTooLarge):
        download(f"{allowed.url}/", target, DownloadLimits(bytes=1000), ALLOWED)
    assert not target.exists()


def test_the_body_of_a_redirect_is_not_read(allowed: Server, target: Path) -> None:
    sent: list[int] = []
    allowed.answers["/"] = _endless(302, sent)
    download(f"{allowed.url}/", target, DownloadLimits(bytes=len(BODY)), ALLOWED)
    assert target.read_bytes() == BODY
    # What the buffers of two sockets hold is taken without being read.
    assert sum(sent) < 2**25


@pytest.mark.parametrize(
    ("encoding", "body"), [("gzip", gzip.compress(BODY)), ("deflate", zlib.compress(BODY))]
)
def test_a_packed_body_is_unpacked(
    allowed: Server, target: Path, encoding: str, body: bytes
) -> None:
    allowed.answers["/"] = _file(body, Content_Encoding=encoding)
    download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip, gzip", gzip.compress(gzip.compress(BODY))),
        ("br", b"x"),
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(BODY)[:-9]),
    ],
    ids=["twice", "unknown", "damaged", "cut"],
)
def test_a_body_that_is_packed_otherwise_is_refused(
    allowed: Server, target: Path, encoding: str, body: bytes
) -> None:
    allowed.answers["/"] = _file(body, Content_Encoding=encoding)
    with pytest.raises(InputAudioUnreachable):
        download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert not target.exists()


def test_a_lookup_that_takes_for_ever_is_left_in_time(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        over.wait(60)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    started = time.monotonic()
    try:
        with pytest.raises(InputAudioUnreachable, match=r"within 0\.2 seconds"):
            download("http://slow.example/", target, DownloadLimits(seconds=0.2))
        assert time.monotonic() - started < 30
    finally:
        over.set()


def test_a_failed_download_leaves_an_older_file_alone(allowed: Server, target: Path) -> None:
    target.write_bytes(b"older")
    allowed.answers["/"] = _status(404)
    with pytest.raises(InputAudioUnreachable):
        download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert target.read_bytes() == b"older"


def test_importing_it_is_cheap() -> None:
    script = "import musicgen.net.fetch, sys; sys.exit('httpx' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


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
