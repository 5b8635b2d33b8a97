"""The public HTTP APIs of Replicate and RunPod, which cannot be run here, in front of what can.

What they say is what their documentation says; the work behind is done by Cog's own server and by
a worker of RunPod's SDK.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.support.cog_server import Server
from tests.support.json_server import Answer, json_server
from tests.support.runpod_queue import Queue


class Api(Protocol):
    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer: ...


@dataclass
class ReplicateApi:
    """https://replicate.com/docs/reference/http of the model me/music, whose container is `cog`."""

    cog: Server
    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match path.strip("/").split("/")[1:]:
            case ["models", "me", "music"]:
                return 200, {"latest_version": {"id": "v1"}}
            case ["models", *_]:
                return 404, {"detail": "The requested resource could not be found."}
            case ["predictions"]:
                return self._create(body)
            case ["predictions", name] if method == "GET":
                return 200, self.predictions[name]
            case ["predictions", name, "cancel"]:
                self.cancelled.append(name)
                self.cog.client.post(f"/predictions/{name}/cancel")
                return 200, self.predictions[name]
        return 404, {"detail": path}

    def _create(self, body: dict[str, Any]) -> Answer:
        assert body["version"] == "v1"
        name = f"p{len(self.predictions)}"
        started = self.predictions[name] = {"id": name, "status": "processing", "logs": ""}

        def run() -> None:
            asked = {"input": body["input"]}
            answer = self.cog.client.put(f"/predictions/{name}", json=asked, timeout=60)
            if answer.status_code == 200:
                self.predictions[name] = answer.json() | {"id": name}
            else:
                failed = {"status": "failed", "error": str(answer.json()["detail"])}
                self.predictions[name] = started | failed

        threading.Thread(target=run, daemon=True).start()
        return 201, started


@dataclass
class RunPodApi:
    """https://docs.runpod.io/serverless/endpoints/operations of one endpoint, over its queue."""

    queue: Queue
    cancelled: list[str] = field(default_factory=list)
    jobs: int = 0
    execution_ms: int = 1500
    """What it says that every job took."""
    status_of_waiting: str = "IN_PROGRESS"

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match path.strip("/").split("/")[1:]:
            case ["run"]:
                self.jobs += 1
                name = f"api-{self.jobs}"
                self.queue.submit({"id": name, **body})
                return 200, {"id": name, "status": "IN_QUEUE"}
            case ["status", name]:
                return 200, {"id": name} | self._status(name)
            case ["cancel", name]:
                self.cancelled.append(name)
                self.queue.to_stop.append(name)
                return 200, {"id": name, "status": "CANCELLED"}
        return 404, {"error": path}

    def _status(self, name: str) -> dict[str, Any]:
        results = self.queue.of(name, "result")
        if results:
            status = "FAILED" if "error" in results[0] else "COMPLETED"
            return {"status": status, "executionTime": self.execution_ms} | results[0]
        updates = self.queue.of(name, "update")
        return {"status": self.status_of_waiting} | (
            {"output": updates[-1]["output"]} if updates else {}
        )


@contextmanager
def served(api: Api) -> Iterator[str]:
    """The address of `api`, which wants `TOKEN`."""

    def answer(method: str, path: str, raw: bytes) -> Answer:
        return api.answer(method, path, json.loads(raw) if raw else {})

    with json_server(answer, {"detail": "who are you?"}) as url:
        yield url
