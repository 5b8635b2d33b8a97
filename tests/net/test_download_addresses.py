"""Addresses, redirects, names and TLS of a caller's URL, against real servers."""

from __future__ import annotations

import socket
import ssl
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.errors import InputAudioRefused, InputAudioUnreachable
from musicgen.net.fetch import download
from tests.support.callers_server import (
    ALLOWED,
    BODY,
    FORBIDDEN_HOST,
    Server,
    answer_file,
    answer_status,
    fake_resolver,
    make_certificate,
    serve,
)


def test_redirects_are_followed_within_what_is_allowed(allowed: Server, target: Path) -> None:
    allowed.answers["/old"] = answer_status(302, "/new")
    download(f"{allowed.url}/old", target, allowed_networks=ALLOWED)
    assert allowed.asked == ["/old", "/new"]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_forbidden_address_is_not_followed(
    allowed: Server, forbidden: Server, target: Path, code: int
) -> None:
    allowed.answers["/"] = answer_status(code, f"{forbidden.url}/secret")
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
    allowed.answers["/"] = answer_status(302, location)
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
    fake_resolver(monkeypatch, {name: [address]})
    with pytest.raises(InputAudioRefused, match="not public") as raised:
        download(f"http://{name}/", target)
    assert address not in str(raised.value)


def test_nobody_learns_which_ports_of_a_private_network_are_open(
    forbidden: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_resolver(monkeypatch, {"inside.example": [FORBIDDEN_HOST]})
    told = []
    for port in (forbidden.url.rpartition(":")[2], "9"):
        with pytest.raises(InputAudioRefused) as raised:
            download(f"http://inside.example:{port}/", target, allowed_networks=ALLOWED)
        told.append(raised.value.problem)
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
    fake_resolver(monkeypatch, {"mixed.example": [FORBIDDEN_HOST, *both]})
    port = allowed.url.rpartition(":")[2]
    networks = ("127.0.0.1/32", "127.0.0.3/32")
    download(f"http://mixed.example:{port}/", target, allowed_networks=networks)
    assert target.read_bytes() == BODY
    assert forbidden.connected == 0


@pytest.mark.parametrize("name", ["clips.example", "other.example"])
def test_tls_is_checked_for_the_name_although_an_address_is_asked(
    target: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: Any, name: str
) -> None:
    certificate = make_certificate(tmp_path_factory.mktemp("tls"), "clips.example")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(httpx, "create_ssl_context", lambda **_: trusting)
    fake_resolver(monkeypatch, {name: ["127.0.0.1"]})
    with serve("127.0.0.1", serving) as server:
        hosts: list[str | None] = []

        def answer(to: BaseHTTPRequestHandler) -> None:
            hosts.append(to.headers["Host"])
            answer_file(BODY)(to)

        server.answers["/"] = answer
        port = server.url.rpartition(":")[2]
        if name == "clips.example":
            download(f"https://{name}:{port}/", target, allowed_networks=ALLOWED)
            assert hosts == [f"{name}:{port}"]
        else:
            with pytest.raises(InputAudioUnreachable, match="TLS"):
                download(f"https://{name}:{port}/", target, allowed_networks=ALLOWED)
            assert hosts == []


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
        fake_resolver(patch, {})
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
