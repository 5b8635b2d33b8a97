"""The parts of Replicate's and RunPod's HTTP APIs that make and change deployments.

They cannot be reached from here; this is what their documentation says of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.json_server import Answer

_CONTAINER = {"image", "args", "disk", "ports", "env", "registry"}
_ENDPOINT = {"name", "gpu", "workers", "scaling", "dataCenterIds", "networkVolumes", "timeout"}
_CHANGED = _CONTAINER | _ENDPOINT | {"flashboot", "templateId"}
_MADE = _CHANGED | {"type"}
_PARTS = {
    "gpu": {"pools", "excludedTypes", "count", "allowedCudaVersions", "minCudaVersion"},
    "workers": {"min", "max", "idleTimeout"},
    "scaling": {"type", "queueDelay"},
}


@dataclass
class RunPodManagement:
    """https://docs.runpod.io/api-reference-v2/serverless"""

    endpoints: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    volumes: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        if method != "GET":
            self.calls.append((method, path, body))
        match (method, path.strip("/").split("/")):
            case ("GET", ["v2", "network-volumes"]):
                return 200, {"networkVolumes": self.volumes}
            case ("GET", ["v2", "serverless"]):
                return 200, {"endpoints": self.endpoints}
            case ("POST", ["v2", "serverless"]):
                return self._make(body)
            case ("PATCH", ["v2", "serverless", name]):
                return self._change(name, body)
        return _problem(404, path)

    def _make(self, body: dict[str, Any]) -> Answer:
        missing = {"name", "type", "scaling", "image"} - body.keys()
        wrong = [f"$: missing property '{name}'" for name in sorted(missing)]
        wrong += _unknown(body, _MADE)
        if wrong:
            return _problem(400, "request validation failed", wrong)
        defaults = {"dataCenterIds": [], "networkVolumes": [], "flashboot": "OFF", "env": {}}
        made = defaults | body | {"id": f"ep{len(self.endpoints)}", "createdAt": "2026-01-01"}
        self.endpoints.append(made)
        return 201, made

    def _change(self, name: str, body: dict[str, Any]) -> Answer:
        found = next((each for each in self.endpoints if each["id"] == name), None)
        if found is None:
            return _problem(404, "endpoint not found")
        if wrong := _unknown(body, _CHANGED):
            return _problem(400, "request validation failed", wrong)
        for key, value in body.items():
            if key == "gpu" and "pools" in value:
                # One selection with the exclusions, which are gone where they are not said again.
                kept = {k: v for k, v in found["gpu"].items() if k != "excludedTypes"}
                found["gpu"] = kept | value
            elif key in _PARTS:
                found[key] = found[key] | value
            else:
                found[key] = value
        return 200, found


def _unknown(body: dict[str, Any], allowed: set[str]) -> list[str]:
    wrong = [f"$: additional properties '{name}' not allowed" for name in body.keys() - allowed]
    for part, known in _PARTS.items():
        extra = body.get(part, {}).keys() - known
        wrong += [f"$.{part}: additional properties '{name}' not allowed" for name in extra]
    return wrong


def _problem(status: int, detail: str, errors: list[str] | None = None) -> Answer:
    return status, {"title": "wrong", "status": status, "detail": detail, "errors": errors or []}


@dataclass
class ReplicateManagement:
    """https://replicate.com/docs/reference/http: the model me/music has a version for each push;
    `pushes` says how many there were."""

    pushes: Callable[[], int]
    deployments: dict[str, dict[str, Any]] = field(default_factory=dict)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        match (method, path.strip("/").split("/")):
            case ("GET", ["v1", "account"]):
                return 200, {"type": "user", "username": "me"}
            case ("GET", ["v1", "models", "me", "music"]):
                pushes = self.pushes()
                latest = {"id": f"version{pushes}"} if pushes else None
                return 200, {"visibility": "private", "latest_version": latest}
            case ("POST", ["v1", "deployments"]):
                return self._make(body)
            case (_, ["v1", "deployments", "me", name]) if name in self.deployments:
                return self._release(name, body) if method == "PATCH" else self._one(name)
        return 404, {"detail": "The requested resource could not be found."}

    def _make(self, body: dict[str, Any]) -> Answer:
        wanted = {"name", "model", "version", "hardware", "min_instances", "max_instances"}
        if body.keys() != wanted:
            return 422, {"detail": f"wanted {sorted(wanted)}"}
        self.deployments[body["name"]] = {"number": 0} | body
        return self._release(body["name"], {"version": body["version"]})

    def _release(self, name: str, body: dict[str, Any]) -> Answer:
        number = self.deployments[name]["number"] + 1
        self.deployments[name] |= body | {"number": number}
        return self._one(name)

    def _one(self, name: str) -> Answer:
        found = self.deployments[name]
        release = {"number": found["number"], "version": found["version"], "model": found["model"]}
        return 200, {"owner": "me", "name": name, "current_release": release}
