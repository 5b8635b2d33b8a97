"""An S3 server on loopback that takes any object, and has one thing wrong with it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FAULT = """<?xml version="1.0"?><Error><Code>{code}</Code><Message>m</Message></Error>"""
LISTING = b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>'


@contextmanager
def odd_bucket(
    refuses: str = "", code: str = "AccessDenied", region: str = "", clock: float | None = None
) -> Iterator[str]:
    """Its URL. `refuses`: the method, or LIST, answered with the error `code`, from `region`.
    `clock`: the time of its answers.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            # Listing objects is the only GET with a query.
            name = "LIST" if "list-type=2" in self.path else self.command
            is_refused = name == refuses
            body = {"GET": b"probe", "LIST": LISTING}.get(name, b"")
            body = FAULT.format(code=code).encode() if is_refused else body
            self.send_response(400 if is_refused else 200)
            if region:
                self.send_header("x-amz-bucket-region", region)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_PUT(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_DELETE(self) -> None:
            self.answer()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(clock or timestamp, usegmt=True)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
