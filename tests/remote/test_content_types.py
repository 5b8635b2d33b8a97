"""Every call with JSON says so: Cog runs a call without Content-Type on the defaults alone."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from musicgen.errors import RemoteError
from musicgen.remote.http_api import HttpApi
from musicgen_client import MusicGenClient, MusicGenClientError
from tests.support import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
CALLS: dict[str, Callable[[str], object]] = {
    "post": lambda url: HttpApi(url, None, 5).post("/run", {"input": {"prompt": "x"}}),
    "post and wait": lambda url: HttpApi(url, None, 5).post_and_wait("/predictions", {"input": {}}),
    "client": lambda url: MusicGenClient(url).submit(prompt="x"),
}


@pytest.fixture
def refusals() -> Iterator[tuple[str, list[str | None]]]:
    """A server that refuses every call, and the types of the bodies it was sent."""
    types: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            types.append(self.headers.get("Content-Type"))
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(422)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *values: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}", types
        web.shutdown()


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_clients_send_the_type_of_a_body(
    refusals: tuple[str, list[str | None]], call: Callable[[str], object]
) -> None:
    url, types = refusals
    with contextlib.suppress(RemoteError, MusicGenClientError):
        call(url)
    assert types == ["application/json"]


def test_documented_commands_send_the_type_of_a_body() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES).replace("\\\n", " ")
    commands = re.findall(r"curl [^\n`]*(?:-d|--data|--data-raw|--json) [^\n`]*", text)
    assert commands
    for command in commands:
        assert "application/json" in command or "--json" in command, command
    assert "Content-Type: application/json" in (ROOT / "docs" / "deploying.md").read_text()
