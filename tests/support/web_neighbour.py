"""Another web server on loopback: what a platform's server fetches from, reports and uploads to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
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
    and uploads that it is sent, but no upload while it `refuses`. `asked` counts the GETs.

    An upload is served under its path. `delay` is the seconds that the upload of a file takes, and
    `rename` its new path, by its name."""

    url: str
    clip: bytes
    redirect: str = ""
    asked: int = 0
    refuses: bool = False
    delay: Callable[[str], float] = lambda _: 0.0
    rename: Callable[[str], str] | None = None
    webhooks: list[str] = field(default_factory=list)
    uploads: list[Upload] = field(default_factory=list)

    def wait_for_status(self, *statuses: str) -> dict[str, Any]:
        """The body of the first webhook that says one of `statuses`.

        Webhooks are sent side by side, so that they may arrive in another order.
        """
        return self._wait_for(lambda told: told["status"] in statuses, f"says {statuses}")

    def wait_for_logs(self, prediction: str) -> None:
        """Waits until `prediction` tells its progress: it is being decoded.

        Cog loses a cancellation that comes in the few milliseconds before its worker has begun.
        """
        self._wait_for(
            lambda told: told["id"] == prediction and bool(told["logs"]), "has a line of progress"
        )

    def _wait_for(
        self, holds: Callable[[dict[str, Any]], bool], what: str, deadline: float = 20
    ) -> dict[str, Any]:
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            for each in list(self.webhooks):
                told: dict[str, Any] = json.loads(each)
                if holds(told):
                    return told
            time.sleep(0.02)
        raise AssertionError(f"no webhook {what}: {self.webhooks}")


@contextmanager
def web_neighbour(clip: bytes) -> Iterator[Neighbour]:
    known = Neighbour("", clip)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked += 1
            if self.path == "/redirect":
                self._answer(b"", 302, Location=known.redirect)
            else:
                uploaded = [each.body for each in known.uploads if each.path == self.path]
                self._answer(uploaded[0] if uploaded else known.clip)

        def do_POST(self) -> None:
            known.webhooks.append(self._body().decode())
            self._answer(b"")

        def do_PUT(self) -> None:
            body = self._body()
            if known.refuses:
                self._answer(b"", 500)
                return
            name = self.path.rpartition("/")[2]
            time.sleep(known.delay(name))
            path = known.rename(name) if known.rename else self.path
            known.uploads.append(Upload(path, body, dict(self.headers.items())))
            moved = {"Location": known.url + path} if known.rename else {}
            self._answer(b"", **moved)

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
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        yield known
        web.shutdown()
