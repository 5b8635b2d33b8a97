"""JSON over HTTP on loopback, for whoever knows a token."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "a-token"
Answer = tuple[int, Any]


@contextmanager
def json_server(
    answer: Callable[[str, str, bytes], Answer], stranger: dict[str, Any]
) -> Iterator[str]:
    """Its address. `answer`: of method, path and body to status and JSON; `stranger`: what those
    are told, with 401, who do not send `TOKEN`."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            known = self.headers["Authorization"] == f"Bearer {TOKEN}"
            status, told = answer(self.command, self.path, raw) if known else (401, stranger)
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 the names of http.server

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()
