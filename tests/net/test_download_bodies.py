"""Bodies, limits and failures of a download from a caller's URL, against real servers."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from musicgen.errors import InputAudioTooLarge, InputAudioUnreachable
from musicgen.net.fetch import DownloadLimits, download
from tests.support import ROOT
from tests.support.callers_server import (
    ALLOWED,
    BODY,
    Answer,
    Server,
    answer_endlessly,
    answer_file,
    answer_slowly,
    answer_status,
)


def test_a_file_arrives_whole(allowed: Server, target: Path) -> None:
    download(f"{allowed.url}/a.wav", target, allowed_networks=ALLOWED)
    assert target.read_bytes() == BODY


def test_it_may_be_called_where_an_event_loop_runs(allowed: Server, target: Path) -> None:
    async def main() -> None:
        download(allowed.url, target, allowed_networks=ALLOWED)

    asyncio.run(main())
    assert target.read_bytes() == BODY


@pytest.mark.parametrize(
    "answer",
    [
        answer_file(b"", Content_Length="2000"),
        answer_file(b"x" * 2000, Content_Length=""),
        answer_endlessly(200),
        answer_file(gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
        answer_file(gzip.compress(b"") + bytes(2000), Content_Encoding="gzip", Content_Length=""),
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
    allowed.answers["/"] = answer_endlessly(302, sent)
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
    allowed.answers["/"] = answer_file(body, Content_Encoding=encoding)
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
    allowed.answers["/"] = answer_file(body, Content_Encoding=encoding)
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
        with pytest.raises(InputAudioUnreachable, match=r"within 0\.2 s"):
            download("http://slow.example/", target, DownloadLimits(seconds=0.2))
        assert time.monotonic() - started < 30
    finally:
        over.set()


def test_a_failed_download_leaves_an_older_file_alone(allowed: Server, target: Path) -> None:
    target.write_bytes(b"older")
    allowed.answers["/"] = answer_status(404)
    with pytest.raises(InputAudioUnreachable):
        download(f"{allowed.url}/", target, allowed_networks=ALLOWED)
    assert target.read_bytes() == b"older"


def test_importing_it_is_cheap() -> None:
    script = "import musicgen.net.fetch, sys; sys.exit('httpx' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_a_server_that_drips_is_left_in_time(allowed: Server, target: Path) -> None:
    """A limit on each read would wait for ever."""
    allowed.answers["/"] = answer_slowly
    started = time.monotonic()
    with pytest.raises(InputAudioUnreachable, match=r"within 0\.5 s"):
        download(f"{allowed.url}/", target, DownloadLimits(seconds=0.5), ALLOWED)
    assert time.monotonic() - started < 15


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (answer_status(404), "HTTP 404"),
        (answer_status(500), "HTTP 500"),
        (answer_status(204), "HTTP 204"),
        (answer_status(302, "/"), "5 redirects"),
        (answer_file(BODY, Content_Length="999999"), "ended early"),
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
