"""What has to be so in a cluster before an overlay is brought to it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infra.check.objects import WORKLOADS, Objects, containers_of, named, of_kind
from infra.deploy import checks
from infra.deploy.target import Check
from musicgen.settings import Settings

GPU = "nvidia.com/gpu"
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
)
BUCKET = {
    "name": "MUSICGEN_BUCKET",
    "region": "MUSICGEN_BUCKET_REGION",
    "endpoint-url": "MUSICGEN_BUCKET_ENDPOINT_URL",
    "access-key-id": "MUSICGEN_BUCKET_ACCESS_KEY_ID",
    "secret-access-key": "MUSICGEN_BUCKET_SECRET_ACCESS_KEY",
}

Secret = Callable[[str], dict[str, str] | None]
"""The data of a Secret in base64, or None for one that is not there."""


def manifests(objects: Objects) -> Check:
    """What `python -m infra.check` says of them."""
    from infra.check.overlays import problems_of

    found = problems_of(objects)
    return Check("manifests", not found, "; ".join(found[:3]))


def filled_in(objects: Objects) -> Check:
    """Nothing that the overlay leaves to its reader is left as it came."""
    left = sorted({word for word in PLACEHOLDERS if _mentions(list(objects), word)})
    told = f"change {', '.join(left)} in the overlay" if left else ""
    return Check("overlay is filled in", not left, told)


def kinds(objects: Objects, known: Sequence[str]) -> Check:
    """`known`: the API versions that the cluster serves."""
    missing = sorted({each["apiVersion"] for each in objects} - set(known))
    told = f"the cluster does not serve {', '.join(missing)}: install what brings them"
    return Check("kinds", not missing, told if missing else "")


def secrets(objects: Objects, secret: Secret) -> Iterator[Check]:
    """Every Secret that must be there, with its keys; then the bucket that one of them names."""
    wanted: dict[str, set[str]] = {}
    for each in of_kind(objects, *WORKLOADS):
        for container in containers_of(each):
            for source in container.get("envFrom", []):
                if "secretRef" in source:
                    wanted.setdefault(source["secretRef"]["name"], set())
            for variable in container.get("env", []):
                ref = variable.get("valueFrom", {}).get("secretKeyRef")
                if ref and not ref.get("optional"):
                    wanted.setdefault(ref["name"], set()).add(ref["key"])
    made_here = {each["metadata"]["name"] for each in of_kind(objects, "ExternalSecret")}
    for name in sorted(wanted.keys() - made_here):
        data = secret(name)
        missing = sorted(wanted[name] - (data or {}).keys())
        is_there = data is not None and not missing
        needs = f", with {', '.join(missing)}" if missing else ""
        told = "" if is_there else f"make it{needs}: docs/kubernetes.md"
        yield Check(f"Secret {name}", is_there, told)
        if name == "musicgen-bucket" and data and not missing:
            yield _bucket(data)


def gpus(objects: Objects, nodes: Sequence[dict[str, Any]], gpus_come: bool) -> Check:
    """`gpus_come`: nodes with GPUs are made when they are needed."""
    wants = [
        named(each)
        for each in of_kind(objects, "Deployment")
        if any(GPU in c["resources"].get("limits", {}) for c in containers_of(each))
    ]
    have = [node for node in nodes if int(node["status"]["allocatable"].get(GPU, 0)) > 0]
    if not wants:
        return Check("GPUs", True, "none is asked for")
    if not have:
        told = "no node has one now" if gpus_come else f"no node has {GPU}, which {wants[0]} asks"
        return Check("GPUs", gpus_come, told)
    for node in have:
        labels = node["metadata"].get("labels", {})
        if DRIVER_LABEL in labels:
            memory = int(labels.get(MEMORY_LABEL, 0)) * 2**20
            found = checks.gpu(labels[DRIVER_LABEL], memory, None)
            if not found.is_met:
                return Check("GPUs", False, f"{node['metadata']['name']}: {found.told}")
    return Check("GPUs", True, f"{len(have)} nodes have some")


def _bucket(data: dict[str, str]) -> Check:
    env = {
        BUCKET[key]: base64.b64decode(value).decode()
        for key, value in data.items()
        if key in BUCKET
    }
    if BUCKET["access-key-id"] not in env:
        told = "written with the pods' own identity: cannot be tried from here"
        return Check(f"bucket {env[BUCKET['name']]}", True, told)
    return checks.writable(Settings.from_env(env).bucket)


def _mentions(value: object, word: str) -> bool:
    if isinstance(value, dict):
        return any(_mentions(each, word) for each in value.values())
    if isinstance(value, list):
        return any(_mentions(each, word) for each in value)
    return isinstance(value, str) and word in value
