"""A web server on loopback that serves one file in ranges, and can be made to misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class RangeServer:
    """`fail_at`: offsets of ranges whose first answer is an error. `cut`: every answer ends early.
    `change_after`: so many answers, after which the file is another one. `ranges`: whether they are
    known here. `asked`: the offsets, in the order of the requests."""

    url: str
    content: bytes
    tag: str = '"one"'
    fail_at: set[int] = field(default_factory=set)
    cut: bool = False
    change_after: int | None = None
    ranges: bool = True
    asked: list[int] = field(default_factory=list)


@contextmanager
def range_server(content: bytes) -> Iterator[RangeServer]:
    known, lock = RangeServer("", content), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted is None or not known.ranges:
                self._answer(200, known.content)
                return
            start, end = int(wanted[1]), int(wanted[2]) + 1
            with lock:
                known.asked.append(start)
                fails = end - start > 1 and start in known.fail_at
                known.fail_at.discard(start if fails else -1)
                changed = known.change_after is not None and len(known.asked) > known.change_after
            if fails:
                self._answer(503, b"")
            elif changed and self.headers.get("If-Range") == known.tag:
                self._answer(200, known.content)
            else:
                part = f"bytes {start}-{end - 1}/{len(known.content)}"
                self._answer(206, known.content[start:end], part)

        def _answer(self, status: int, body: bytes, part: str | None = None) -> None:
            self.send_response(status)
            self.send_header("ETag", known.tag)
            if part:
                self.send_header("Content-Range", part)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if known.cut and len(body) > 1 else body)

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        known.url = f"http://127.0.0.1:{web.server_port}/small.native-int8.packed"
        threading.Thread(target=web.serve_forever, args=(0.05,), daemon=True).start()
        yield known
        web.shutdown()
