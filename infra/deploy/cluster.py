"""Preconditions of a cluster before an overlay is deployed to it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infra.check.objects import (
    WORKLOADS,
    Objects,
    describe,
    get_pod,
    list_gpus,
    select_kinds,
    walk_containers,
)
from infra.deploy import checks
from infra.deploy.destinations import check_database, check_endpoint
from infra.deploy.neighbours import CERT_MANAGER, list_issuers
from infra.deploy.target import Check
from musicgen.settings import Settings

DRIVER_LABEL = "nvidia.com/cuda.driver-version.full"
MEMORY_LABEL = "nvidia.com/gpu.memory"
"""Labels of NVIDIA's GPU feature discovery; memory in MiB."""
PLACEHOLDERS = (
    "registry.example.com",
    "sha256:" + 16 * "0",
    "music.example.com",
    "GATEWAY_CLASS",
    "INGRESS_CLASS",
    "ENDPOINT_ID",
    "SPOT_TAINT",
    "SPOT_LABEL",
    "SPOT_VALUE",
    "192.0.2.0/24",
)
BUCKET = {
    "name": "MUSICGEN_BUCKET",
    "region": "MUSICGEN_BUCKET_REGION",
    "endpoint-url": "MUSICGEN_BUCKET_ENDPOINT_URL",
    "access-key-id": "MUSICGEN_BUCKET_ACCESS_KEY_ID",
    "secret-access-key": "MUSICGEN_BUCKET_SECRET_ACCESS_KEY",
}

METRICS = {
    "Resource": "metrics.k8s.io/v1beta1",
    "Pods": "custom.metrics.k8s.io/v1beta1",
}
"""API of each type of metric of an autoscaler: of metrics-server, and of prometheus-adapter."""

_BUILT_IN = (
    *("apps", "batch", "policy", "autoscaling"),
    *("networking.k8s.io", "scheduling.k8s.io", "rbac.authorization.k8s.io", "storage.k8s.io"),
)
"""Groups of Kubernetes itself."""

Secret = Callable[[str], dict[str, str] | None]
"""Takes a name; returns the data of the Secret in base64, or None without one of that name."""


def check_manifests(objects: Objects) -> Check:
    """Run the checks of `python -m infra.check` on rendered objects."""
    from infra.check.overlays import problems_of

    try:
        problems = problems_of(objects)
    except ModuleNotFoundError as error:
        detail = f"not checked: {error.name} is not installed: pip install -e '.[infra]'"
        return Check("manifests", False, detail)
    return Check("manifests", not problems, "; ".join(problems[:3]))


def check_placeholders(objects: Objects) -> Check:
    """Check for placeholder values of the overlay."""
    placeholders = sorted({word for word in PLACEHOLDERS if _mentions(list(objects), word)})
    detail = f"replace {', '.join(placeholders)} in the overlay" if placeholders else ""
    return Check("overlay is filled in", not placeholders, detail)


def check_api_versions(objects: Objects, served: Sequence[str]) -> Check:
    """Check the objects against `served`, the API versions of the cluster."""
    needed = {entry["apiVersion"] for entry in objects}
    if list_issuers(objects):
        needed.add(CERT_MANAGER)
    for scaler in select_kinds(objects, "HorizontalPodAutoscaler"):
        needed |= {METRICS[metric["type"]] for metric in scaler["spec"]["metrics"]}
    missing = sorted(needed - set(served))
    detail = f"the cluster does not serve {', '.join(missing)}: install their operators"
    return Check("API versions", not missing, detail if missing else "")


def check_secrets(objects: Objects, secret: Secret) -> Iterator[Check]:
    """Check every required Secret and its keys, then the bucket of `musicgen-bucket`."""
    required = _list_secrets(objects)
    for name in sorted(required):
        data = secret(name)
        missing = sorted(required[name] - (data or {}).keys())
        is_complete = data is not None and not missing
        keys = f" with {', '.join(missing)}" if missing else ""
        detail = "" if is_complete else f"create it{keys}: docs/kubernetes.md"
        yield Check(f"Secret {name}", is_complete, detail)
        if name == "musicgen-bucket" and data and not missing:
            yield _check_bucket(data)
            yield from check_endpoint(objects, _decode(data).get("endpoint-url", ""))
        if name == "musicgen-database" and data and not missing:
            yield check_database(objects, _decode(data)["url"])


def list_needs(objects: Objects) -> Iterator[Check]:
    """Return what a cluster must have, as checks that are not met: there is no cluster to ask."""
    for name, keys in sorted(_list_secrets(objects).items()):
        detail = f"needs {', '.join(sorted(keys))}" if keys else "needed"
        yield Check(f"Secret {name}", False, f"{detail}: docs/kubernetes.md")
    groups = {entry["apiVersion"] for entry in objects if "." in entry["apiVersion"]}
    operators = sorted(group for group in groups if group.partition("/")[0] not in _BUILT_IN)
    if operators:
        yield Check("API versions", False, f"needed: {', '.join(operators)}")
    for issuer in sorted(list_issuers(objects)):
        yield Check(f"ClusterIssuer {issuer}", False, "needed: docs/kubernetes.md, Certificates")


def check_gpus(objects: Objects, nodes: Sequence[dict[str, Any]], gpus_come: bool) -> Check:
    """Check the nodes' GPUs. `gpus_come`: an autoscaler adds nodes with GPUs on demand."""
    consumers = {
        resource: describe(deployment)
        for deployment, container in walk_containers(objects, "Deployment")
        for resource in list_gpus(container["resources"].get("limits", {}))
    }
    if not consumers:
        return Check("GPUs", True, "no Deployment requests one")
    gpu_nodes = []
    for resource, consumer in consumers.items():
        found = [n for n in nodes if int(n["status"]["allocatable"].get(resource, 0)) > 0]
        if not found:
            detail = (
                "no node has one yet" if gpus_come else f"no node has {resource} for {consumer}"
            )
            return Check("GPUs", gpus_come, detail)
        gpu_nodes += found
    for node in gpu_nodes:
        labels = node["metadata"].get("labels", {})
        if DRIVER_LABEL in labels:
            memory = int(labels.get(MEMORY_LABEL, 0)) * 2**20
            check = checks.check_gpu(labels[DRIVER_LABEL], memory, None)
            if not check.is_met:
                return Check("GPUs", False, f"{node['metadata']['name']}: {check.detail}")
    return Check("GPUs", True, f"nodes with GPUs: {len(gpu_nodes)}")


def _list_secrets(objects: Objects) -> dict[str, set[str]]:
    """Return the required keys by Secret, without those of an ExternalSecret."""
    required: dict[str, set[str]] = {}
    pullers = [*select_kinds(objects, "ServiceAccount")]
    pullers += [get_pod(workload)["spec"] for workload in select_kinds(objects, *WORKLOADS)]
    for puller in pullers:
        for secret in puller.get("imagePullSecrets", []):
            required.setdefault(secret["name"], set()).add(".dockerconfigjson")
    for _, container in walk_containers(objects):
        for source in container.get("envFrom", []):
            if "secretRef" in source:
                required.setdefault(source["secretRef"]["name"], set())
        for variable in container.get("env", []):
            ref = variable.get("valueFrom", {}).get("secretKeyRef")
            if ref and not ref.get("optional"):
                required.setdefault(ref["name"], set()).add(ref["key"])
    external = {secret["metadata"]["name"] for secret in select_kinds(objects, "ExternalSecret")}
    return {name: keys for name, keys in required.items() if name not in external}


def _check_bucket(data: dict[str, str]) -> Check:
    env = {BUCKET[key]: value for key, value in _decode(data).items() if key in BUCKET}
    if BUCKET["access-key-id"] not in env:
        detail = "not checked: only the identity of the pods can write to it"
        return Check(f"bucket {env[BUCKET['name']]}", True, detail)
    return checks.check_writable(Settings.from_env(env).bucket)


def _decode(data: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def _mentions(value: object, word: str) -> bool:
    if isinstance(value, dict):
        return any(_mentions(part, word) for item in value.items() for part in item)
    if isinstance(value, list):
        return any(_mentions(part, word) for part in value)
    return isinstance(value, str) and word in value
