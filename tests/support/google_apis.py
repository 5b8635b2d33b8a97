"""The parts of Google's HTTP APIs that deploy, as their discovery documents describe them.

Read on 2026-11-29: run.v2 and aiplatform.v1, of google-api-python-client. An unknown field is
refused as Google refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.json_server import Answer

RUN = {
    "": {"template", "traffic", "labels", "annotations", "ingress", "launchStage", "scaling"},
    "template": {
        *("revision", "containers", "scaling", "maxInstanceRequestConcurrency", "timeout"),
        *("nodeSelector", "gpuZonalRedundancyDisabled", "serviceAccount", "volumes", "labels"),
    },
    "containers": {
        *("image", "ports", "env", "resources", "startupProbe", "livenessProbe", "name"),
        *("command", "args", "volumeMounts"),
    },
    "resources": {"limits", "cpuIdle", "startupCpuBoost"},
    "startupProbe": {
        *("httpGet", "periodSeconds", "timeoutSeconds", "failureThreshold"),
        *("initialDelaySeconds", "tcpSocket", "grpc"),
    },
    "httpGet": {"path", "port", "httpHeaders"},
    "nodeSelector": {"accelerator"},
    "traffic": {"type", "revision", "percent", "tag"},
    "ports": {"containerPort", "name"},
    "env": {"name", "value", "valueSource"},
}
VERTEX = {
    "": {
        *("model", "modelId", "parentModel", "serviceAccount", "displayName", "trafficSplit"),
        *("dedicatedEndpointEnabled", "deployedModel", "deployedModelId"),
        *("clientConnectionConfig",),
    },
    "clientConnectionConfig": {"inferenceTimeout"},
    "containerSpec": {
        *("imageUri", "command", "args", "env", "ports", "healthRoute", "predictRoute"),
        *("deploymentTimeout", "startupProbe", "healthProbe", "sharedMemorySizeMb"),
    },
    "deployedModel": {"model", "displayName", "dedicatedResources", "serviceAccount"},
    "dedicatedResources": {
        *("machineSpec", "minReplicaCount", "maxReplicaCount", "autoscalingMetricSpecs", "spot"),
    },
    "machineSpec": {"machineType", "acceleratorType", "acceleratorCount"},
    "autoscalingMetricSpecs": {"metricName", "target"},
    "ports": {"containerPort"},
    "env": {"name", "value"},
}


def find_unknown(body: Any, known: dict[str, set[str]], part: str = "") -> list[str]:
    """Return the fields of a body that the API does not have."""
    if isinstance(body, list):
        return [name for each in body for name in find_unknown(each, known, part)]
    if not isinstance(body, dict):
        return []
    unknown = [f"{part}.{key}" for key in body if part in known and key not in known[part]]
    return unknown + [
        name for key, value in body.items() for name in find_unknown(value, known, key)
    ]


@dataclass
class CloudRunApi:
    """One project and region. An operation is done at the second look."""

    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    revisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    fails: str = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        match (method, parts.path.strip("/").split("/")[1:]):
            case ("GET", ["operations", _]):
                error = {"error": {"code": 3, "message": self.fails}} if self.fails else {}
                return 200, {"name": "operations/one", "done": True, **error}
            case ("GET", ["projects", "mine", "locations", _, "services", name]):
                found = self.services.get(name)
                return (200, found) if found else (404, {"error": {"message": "not found"}})
            case ("GET", [*_, "revisions", name]):
                found = self.revisions.get(name)
                return (404, {}) if found is None else (200, found)
            case ("POST", ["projects", "mine", "locations", _, "services"]):
                return self._change(query["serviceId"][0], body)
            case ("PATCH", ["projects", "mine", "locations", _, "services", name]):
                assert query["updateMask"] == [",".join(body)]
                return self._change(name, body)
        return 404, {"error": {"message": path}}

    def _change(self, name: str, body: dict[str, Any]) -> Answer:
        if unknown := find_unknown(body, RUN):
            return 400, {"error": {"message": f"Unknown name {unknown}"}}
        self.bodies.append(body)
        service = self.services.setdefault(name, {})
        if template := body.get("template"):
            if template["revision"] in self.revisions:
                return 409, {"error": {"message": "revision exists"}}
            self._start(service, name, template["revision"])
        for share in body.get("traffic", ()):
            revision = self.revisions.get(share.get("revision"))
            if revision and revision["conditions"][0]["state"] != "CONDITION_SUCCEEDED":
                return 400, {"error": {"message": "the revision is not ready"}}
        service["traffic"] = body.get("traffic", service.get("traffic"))
        return 200, {"name": "operations/one", "done": False}

    def _start(self, service: dict[str, Any], name: str, revision: str) -> None:
        """Make a revision, which starts now or never."""
        state = "CONDITION_FAILED" if self.fails else "CONDITION_SUCCEEDED"
        condition = {"type": "Ready", "state": state, "message": self.fails}
        self.revisions[revision] = {"conditions": [condition]}
        if not self.fails:
            service["latestReadyRevision"] = f"{name}/revisions/{revision}"


@dataclass
class VertexApi:
    """One project and region. `breaks_at`: the call that fails. `running`: operations not done."""

    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    endpoints: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    count: int = 0
    breaks_at: str = ""
    running: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        parts = urlsplit(path)
        if unknown := find_unknown(body, VERTEX):
            return 400, {"error": {"message": f"Unknown name {unknown}"}}
        last = parts.path.rpartition("/")[2]
        if method == "GET":
            if last in ("operations", "models"):
                return 200, self._list(parts.path, parse_qs(parts.query))
            kind = parts.path.split("/")[-2]
            found = {"models": self.models, "endpoints": self.endpoints}.get(kind, {}).get(last)
            return (404, {"error": {"message": "not found"}}) if found is None else (200, found)
        self.calls.append(last if method == "POST" else f"{method} {last}")
        name, _, verb = last.partition(":")
        if last == self.breaks_at:
            return 500, {"error": {"message": "Internal error"}}
        if verb == "upload":
            self.models[body["modelId"]] = body["model"]
        elif verb == "deployModel":
            self._deploy(self.endpoints[name], body)
        elif verb == "undeployModel":
            endpoint, gone = self.endpoints[name], body["deployedModelId"]
            others = [each for each in endpoint["deployedModels"] if each["id"] != gone]
            if others and endpoint["trafficSplit"].get(gone):
                return 400, {"error": {"message": f"{gone} still has traffic"}}
            endpoint["deployedModels"] = others
        elif method == "PATCH":
            assert parse_qs(parts.query)["updateMask"] == ["trafficSplit"]
            known = {each["id"] for each in self.endpoints[name]["deployedModels"]}
            assert body["trafficSplit"].keys() <= known
            self.endpoints[name]["trafficSplit"] = body["trafficSplit"]
            return 200, self.endpoints[name]
        else:
            self.endpoints[parse_qs(parts.query)["endpointId"][0]] = body | {"deployedModels": []}
        return 200, {"name": "operations/one", "done": True, "response": {}}

    def _list(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        if path.endswith("/operations"):
            done = {"name": f"{path[4:]}/1", "done": True}
            return {"operations": [done, *({"name": f"{path[4:]}/{n}"} for n in self.running)]}
        [wish] = query["filter"]
        deployed = {
            each["model"].rpartition("/")[2]
            for endpoint in self.endpoints.values()
            for each in endpoint["deployedModels"]
        }
        found = [
            name
            for name, model in self.models.items()
            if wish == f'display_name="{model["displayName"]}"'
        ]
        used = {name: {"deployedModels": [{}]} if name in deployed else {} for name in found}
        return {"models": [{"name": f"{path[4:]}/{name}"} | used[name] for name in found]}

    def _deploy(self, endpoint: dict[str, Any], body: dict[str, Any]) -> None:
        self.count += 1
        made = body["deployedModel"] | {"id": str(self.count)}
        endpoint["deployedModels"].append(made)
        endpoint["trafficSplit"] = {
            made["id"] if key == "0" else key: share for key, share in body["trafficSplit"].items()
        }
