"""Values of the Helm chart: defaults from the rendered base, comments, and their schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

COMMENTS = {
    "host": "Host name of the service, for the components gateway and ingress.",
    "images": "Images that you built (docs/compose.md), by digest or tag.",
    "imagePullSecrets": "For a private registry, [{name: registry}].",  # pragma: allowlist secret
    "settings": "Settings of every process; docs/settings.md has them all.",
    "api": "The job API; an autoscaler adds pods by processor and memory.",
    "worker": "Workers with a GPU; KEDA adds one for every MUSICGEN_SLOTS jobs.",
    "database": "Secret with the key url, the address of PostgreSQL, and PostgreSQL's port.",
    "bucket": "Clips in a bucket, and the Secret with its keys (infra/k8s/components/bucket).",
    "namespace": "Whether the release's namespace, with its pod security, is part of the chart.",
    "components": "Parts of infra/k8s/components. class: of the gateway or ingress controller.",
}
Object = Mapping[str, Any]


def list_defaults(base: Sequence[Object]) -> dict[str, Any]:
    """Return the default values, as the base has them."""
    found = {
        (item["kind"], item["metadata"]["name"].removeprefix("musicgen-")): item for item in base
    }
    settings = next(item["data"] for item in base if item["kind"] == "ConfigMap")
    scaler = found["HorizontalPodAutoscaler", "api"]["spec"]
    scaled = found["ScaledObject", "worker"]["spec"]
    pods = {
        role: found["Deployment", role]["spec"]["template"]["spec"] for role in ("api", "worker")
    }
    policy = found["NetworkPolicy", "database"]["spec"]
    return {
        "host": "",
        "images": {
            role: {"repository": pod["containers"][0]["image"], "tag": "", "digest": ""}
            for role, pod in pods.items()
        },
        "imagePullSecrets": [],
        "settings": dict(settings),
        "api": {
            "minReplicas": scaler["minReplicas"],
            "maxReplicas": scaler["maxReplicas"],
            "resources": pods["api"]["containers"][0]["resources"],
        },
        "worker": {
            "minReplicas": scaled["minReplicaCount"],
            "maxReplicas": scaled["maxReplicaCount"],
            "cooldownSeconds": scaled["cooldownPeriod"],
            "resources": pods["worker"]["containers"][0]["resources"],
            "tolerations": pods["worker"]["tolerations"],
            "nodeSelector": {},
        },
        "database": {
            "secret": "musicgen-database",
            "port": policy["egress"][0]["ports"][0]["port"],
        },
        "bucket": {"enabled": False, "secret": "musicgen-bucket"},
        "namespace": {"create": False},
        "components": {
            "gateway": {"enabled": False, "class": ""},
            "ingress": {"enabled": False, "class": ""},
            "monitoring": {"enabled": False},
            "prepull": {"enabled": False},
            "identity-eks": {"enabled": False},
            "identity-gke": {"enabled": False},
        },
    }


def describe_values(defaults: Mapping[str, Any]) -> str:
    """Return the text of values.yaml."""
    parts = [
        f"# {COMMENTS[name]}\n{yaml.safe_dump({name: value}, sort_keys=False)}"
        for name, value in defaults.items()
    ]
    return "".join(parts)


def build_schema(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON schema of the values: unknown names and wrong types are refused."""
    schema = _build_object(defaults)
    properties = schema["properties"]
    for name, text in COMMENTS.items():
        properties[name]["description"] = text
    whole = {"type": "string", "pattern": r"^\d+$"}
    properties["settings"] = {
        "type": "object",
        "description": COMMENTS["settings"],
        "required": ["MUSICGEN_SLOTS"],
        "properties": {"MUSICGEN_SLOTS": whole},
        "propertyNames": {"pattern": "^(MUSICGEN|OTEL)_[A-Z0-9_]+$"},
        "additionalProperties": {"type": "string"},
    }
    for role in ("api", "worker"):
        part = properties[role]["properties"]
        part["resources"] = {
            "type": "object",
            "required": ["limits", "requests"],
            "properties": {name: _quantities() for name in ("limits", "requests")},
            "additionalProperties": False,
        }
        part["maxReplicas"]["minimum"] = 1
        image = properties["images"]["properties"][role]["properties"]
        image["repository"] = {"type": "string", "minLength": 1}
        image["digest"]["pattern"] = "^(sha256:[0-9a-f]{64})?$"
    properties["api"]["properties"]["minReplicas"]["minimum"] = 1
    properties["worker"]["properties"]["nodeSelector"] = _texts()
    properties["worker"]["properties"]["tolerations"]["items"] = _texts()
    properties["imagePullSecrets"]["items"] = _build_object({"name": "registry"})
    properties["database"]["properties"]["port"] |= {"minimum": 1, "maximum": 65535}
    properties["host"]["pattern"] = r"^(([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,})?$"
    # Charts above this one pass global values.
    properties["global"] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft-07/schema#", **schema}


def _build_object(defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _build_value(value) for name, value in defaults.items()},
    }


def _build_value(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return _build_object(value)
    if isinstance(value, bool):
        return {"type": "boolean"}
    if isinstance(value, int):
        return {"type": "integer", "minimum": 0}
    return {"type": "array"} if isinstance(value, list) else {"type": "string"}


def _texts() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": "string"}}


def _quantities() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": {"type": ["string", "integer", "number"]}}
