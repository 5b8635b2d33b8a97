"""Security checks: rights of pods, places of secrets, image versions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
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

_SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|API_KEY|ACCESS_KEY|DATABASE_URL)")


def is_secret(variable: str) -> bool:
    """Return whether a variable's name marks it as a secret."""
    return bool(_SECRET.search(variable))


def check_hardening(objects: Objects) -> Iterator[str]:
    """Check for Pod Security's restricted profile, a read-only root, limits and no API token."""
    for item in select_kinds(objects, *WORKLOADS):
        for problem in _check_pod(get_pod(item)["spec"]):
            yield f"{describe(item)}: {problem}"
    for item, container in walk_containers(objects):
        for problem in [*_check_container(container), *_check_resources(container)]:
            yield f"{describe(item)}: {problem}"


def _check_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts an unused token of the cluster's API"
    if not context.get("runAsNonRoot"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") is None:
        yield "has no seccomp profile"
    if spec.get("enableServiceLinks") is not False:
        yield "has variables with the addresses of all Services of its namespace"
    if spec.get("hostNetwork") or spec.get("hostPID"):
        yield "shares its node's network or processes"


def _check_container(container: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if not context.get("readOnlyRootFilesystem"):
        yield "may write to its image"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"


def _check_resources(container: Mapping[str, Any]) -> Iterator[str]:
    resources = container.get("resources", {})
    for kind in ("requests", "limits"):
        if not {"cpu", "memory", "ephemeral-storage"} <= set(resources.get(kind, {})):
            yield f"has no {kind} of cpu, memory and ephemeral-storage"
    requests, limits = (list_gpus(resources.get(kind, {})) for kind in ("requests", "limits"))
    if requests != limits:
        yield "GPUs cannot be shared: requests must equal limits"


def check_secrets(objects: Objects) -> Iterator[str]:
    """Check for secret values in the manifests; only references are allowed."""
    for item in select_kinds(objects, "Secret"):
        yield f"{describe(item)}: a Secret does not belong in a repository"
    for item in select_kinds(objects, "ConfigMap"):
        for name in item.get("data", {}):
            if is_secret(name):
                yield f"{describe(item)}: {name} belongs in a Secret"
    for item, container in walk_containers(objects):
        for variable in container.get("env", []):
            if "value" in variable and is_secret(variable["name"]):
                yield f"{describe(item)}: {variable['name']} has a literal value, use a Secret"


def check_images(objects: Objects) -> Iterator[str]:
    """Check for a version of every image."""
    for item, container in walk_containers(objects):
        image = container["image"]
        if "@sha256:" not in image and (":" not in image or image.endswith(":latest")):
            yield f"{describe(item)}: image {image} has no version"
