"""Google Cloud Storage's JSON API and the metadata server, over a folder of files."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class GoogleStorage:
    """`cut`: the next so many downloads end after half of their bytes. `token`: the right one."""

    files: dict[str, bytes]
    token: str | None = None
    cut: int = 0
    calls: list[str] = field(default_factory=list)
    address: str = ""


@contextmanager
def serve_storage(storage: GoogleStorage) -> Iterator[GoogleStorage]:
    """Serve bucket `music` in pages of two files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(storage))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    storage.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield storage
    finally:
        server.shutdown()
        server.server_close()


def _make_handler(storage: GoogleStorage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            storage.calls.append(self.path)
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if parts.path.startswith("/computeMetadata/"):
                is_asked = self.headers["Metadata-Flavor"] == "Google"
                self._send(200 if is_asked else 403, b'{"access_token": "%s"}' % _encode(storage))
            elif storage.token and self.headers["Authorization"] != f"Bearer {storage.token}":
                self._send(401, b"{}")
            elif parts.path == "/storage/v1/b/music/o":
                self._send(200, json.dumps(_list(storage, query)).encode())
            else:
                self._send_file(unquote(parts.path.removeprefix("/storage/v1/b/music/o/")))

        def _send_file(self, name: str) -> None:
            content = storage.files.get(name)
            if content is None:
                self._send(404, b"{}")
                return
            start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=")[:-1])
            self._send(206 if start else 200, content[start:])

        def _send(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if storage.cut and "alt=media" in self.path:
                storage.cut -= 1
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
                return
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _encode(storage: GoogleStorage) -> bytes:
    return (storage.token or "").encode()


def _list(storage: GoogleStorage, query: dict[str, str]) -> dict[str, object]:
    names = sorted(name for name in storage.files if name.startswith(query["prefix"]))
    start = int(query.get("pageToken", 0))
    items = [
        {"name": name, "size": str(len(storage.files[name])), "generation": "7"}
        for name in names[start : start + 2]
    ]
    more = {"nextPageToken": str(start + 2)} if names[start + 2 :] else {}
    return {"items": items, **more}
