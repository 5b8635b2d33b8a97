"""Another web server on loopback: what a platform's server fetches from, reports and uploads to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LOOPBACK = "127.0.0.0/8"


@dataclass
class Upload:
    """A PUT that was taken."""

    path: str
    body: bytes
    headers: dict[str, str]


@dataclass
class Neighbour:
    """Serves `clip` under every path but /redirect, which leads to `redirect`; keeps the webhooks
    and uploads that it is sent, but no upload while it `refuses`. `asked` counts the GETs."""

    url: str
    clip: bytes
    redirect: str = ""
    asked: int = 0
    refuses: bool = False
    webhooks: list[str] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)

    def wait_for_webhook(self, deadline: float) -> str:
        end = time.monotonic() + deadline
        while not self.webhooks and time.monotonic() < end:
            time.sleep(0.02)
        [webhook] = self.webhooks
        return webhook

    def wait_for_status(self, *statuses: str, deadline: float = 20) -> dict[str, Any]:
        """The body of the first webhook that says one of `statuses`.

        Webhooks are sent side by side, so that they may arrive in another order.
        """
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            for each in list(self.webhooks):
                told: dict[str, Any] = json.loads(each)
                if told["status"] in statuses:
                    return told
            time.sleep(0.02)
        raise AssertionError(f"no webhook says {statuses}: {self.webhooks}")


@contextmanager
def web_neighbour(clip: bytes) -> Iterator[Neighbour]:
    known = Neighbour("", clip)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked += 1
            if self.path == "/redirect":
                self._answer(b"", 302, Location=known.redirect)
            else:
                self._answer(known.clip)

        def do_POST(self) -> None:
            known.webhooks.append(self._body().decode())
            self._answer(b"")

        def do_PUT(self) -> None:
            body = self._body()
            if known.refuses:
                self._answer(b"", 500)
                return
            known.uploads.append(Upload(self.path, body, dict(self.headers.items())))
            self._answer(b"")

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers["Content-Length"]))

        def _answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        known.url = f"http://127.0.0.1:{web.server_port}"
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield known
        web.shutdown()
