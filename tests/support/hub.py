"""As much of Hugging Face's hub, and of its API for Inference Endpoints, as an upload and an
endpoint take: huggingface_hub itself speaks to it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.support.json_server import Answer, json_server

OWNER = "me"
Files = dict[str, bytes]


@dataclass
class Hub:
    """`commits`: the files of each, the newest last; `endpoints` by name."""

    commits: list[tuple[str, Files]] = field(default_factory=list)
    is_private: bool | None = None
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def files(self) -> Files:
        return self.commits[-1][1] if self.commits else {}

    def answer(self, method: str, path: str, raw: bytes) -> Answer:
        parts = path.strip("/").split("/")
        match (method, parts):
            case ("GET", ["api", "whoami-v2"]):
                return 200, {"type": "user", "name": OWNER, "orgs": []}
            case ("POST", ["api", "repos", "create"]):
                return self._create(json.loads(raw))
            case ("POST", ["api", "validate-yaml"]):
                return 200, {"errors": [], "warnings": []}
            case ("POST", ["api", "models", _, _, "preupload", "main"]):
                return 200, {"files": [self._mode(each) for each in json.loads(raw)["files"]]}
            case ("GET", ["api", "models", _, _, "tree", "main"]):
                return 200, [self._entry(name) for name in self.files]
            case ("GET", ["api", "models", owner, name, *_]):
                return 200, {"id": f"{owner}/{name}", "sha": self.commits[-1][0], "siblings": []}
            case ("POST", ["api", "models", _, _, "commit", "main"]):
                return self._commit(raw)
            case (_, ["v2", "endpoint", *rest]):
                return self._endpoint(method, rest, json.loads(raw) if raw else {})
        return 404, {"error": f"{method} {path}"}

    def _create(self, body: dict[str, Any]) -> Answer:
        if self.is_private is not None:
            return 409, {"error": "You already created this model repo", "url": "/me/music"}
        self.is_private = body.get("private") or body.get("visibility") == "private"
        return 200, {"url": "http://127.0.0.1/me/music", "name": "me/music", "id": "1"}

    def _mode(self, file: dict[str, Any]) -> dict[str, Any]:
        known = self.files.get(file["path"])
        oid = None if known is None else _oid(known)
        return {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": oid}

    def _entry(self, name: str) -> dict[str, Any]:
        data = self.files[name]
        return {"type": "file", "path": name, "oid": _oid(data), "size": len(data)}

    def _commit(self, raw: bytes) -> Answer:
        files = dict(self.files)
        for line in raw.splitlines():
            item = json.loads(line)
            if item["key"] == "file":
                files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
            elif item["key"] == "deletedFile":
                del files[item["value"]["path"]]
        oid = hashlib.sha1(raw + str(len(self.commits)).encode()).hexdigest()
        self.commits.append((oid, files))
        return 200, {"commitUrl": f"http://127.0.0.1/me/music/commit/{oid}", "commitOid": oid}

    def _endpoint(self, method: str, rest: list[str], body: dict[str, Any]) -> Answer:
        name = body.get("name") if method == "POST" else rest[1]
        assert rest[0] == OWNER and name is not None
        if method == "POST":
            state = {"state": "pending", "createdAt": _NOW, "updatedAt": _NOW}
            self.endpoints[name] = body | {"status": state, "healthRoute": "/health"}
        elif name not in self.endpoints:
            return 404, {"error": "not found"}
        elif method == "PUT":
            self.endpoints[name]["model"] |= body["model"]
        return 200, self.endpoints[name]


_NOW = "2026-01-01T00:00:00.000Z"


def _oid(data: bytes) -> str:
    """As git names a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def served(hub: Hub) -> Iterator[str]:
    def answer(method: str, path: str, raw: bytes) -> Answer:
        return hub.answer(method, urlsplit(path).path, raw)

    with json_server(answer, {"error": "Invalid credentials"}) as url:
        yield url
