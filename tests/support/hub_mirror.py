"""A mirror of the hub on loopback that serves models: huggingface_hub itself downloads from it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from huggingface_hub.repocard import RepoCard

COMMIT = "0123456789abcdef0123456789abcdef01234567"
Files = Mapping[str, bytes]


Fault = Callable[[BaseHTTPRequestHandler, bytes], bool]


class Mirror:
    """`models`: the files of each by its name. `asked`: the method and path of each request.

    `starts`: the first byte of each download of weights. `fault` answers these in place of the
    mirror, unless it returns False; it is given the rest of the file. `api_fault` answers calls of
    the API.
    """

    def __init__(self, models: Mapping[str, Files]) -> None:
        self.models = models
        self.asked: list[tuple[str, str]] = []
        self.starts: list[int] = []
        self.fault: Fault | None = None
        self.api_fault: Fault | None = None
        self.url = ""

    def find(self, path: str) -> tuple[bytes, str] | None:
        """Return the body and type of the answer to `path`, or None."""
        parts = [unquote(part) for part in path.strip("/").split("/")]
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            name = "/".join(parts[2:4])
            files = self.models.get(name)
            if files is None:
                return None
            if parts[4:5] == ["tree"]:
                return json.dumps([_describe(n, data) for n, data in files.items()]).encode(), _JSON
            return json.dumps(_describe_model(name, files)).encode(), _JSON
        if len(parts) >= 5 and parts[2] == "resolve":
            data = self.models.get("/".join(parts[:2]), {}).get("/".join(parts[4:]))
            return None if data is None else (data, "application/octet-stream")
        return None


_JSON = "application/json"


def _describe(name: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "oid": hashlib.sha1(data).hexdigest(), "size": len(data)}


def _describe_model(name: str, files: Files) -> dict[str, Any]:
    about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": each} for each in files]}
    card = files.get("README.md")
    return about if card is None else {**about, "cardData": RepoCard(card.decode()).data.to_dict()}


@contextmanager
def hub_mirror(models: Mapping[str, Files]) -> Iterator[Mirror]:
    """Serve these models under `url`, for HF_ENDPOINT."""
    mirror = Mirror(models)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            path = urlsplit(self.path).path
            mirror.asked.append((self.command, path))
            found = mirror.find(path)
            body, kind = found or (b'{"error": "not found"}', _JSON)
            if path.startswith("/api/") and mirror.api_fault and mirror.api_fault(self, body):
                return
            status, tag = 200 if found else 404, hashlib.sha1(body).hexdigest()
            if self.command == "GET" and found and path.endswith(".safetensors"):
                start = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
                mirror.starts.append(start)
                status, body = 206 if start else 200, body[start:]
                if mirror.fault is not None and mirror.fault(self, body):
                    return
            self.send_response(status)
            if status == 206:
                size = len(found[0]) if found else 0
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            if found and "/resolve/" in path:
                self.send_header("X-Repo-Commit", COMMIT)
                self.send_header("ETag", f'"{tag}"')
            if not found and "/resolve/" in path:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = _answer  # noqa: N815 the names of http.server

        def log_message(self, *args: Any) -> None:
            """Says nothing on standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        mirror.url = f"http://127.0.0.1:{web.server_port}"
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield mirror
        finally:
            web.shutdown()
            thread.join()
