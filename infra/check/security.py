"""What a pod may do to its node, its neighbours and the network; where secrets stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.check.objects import WORKLOADS, Objects, containers_of, named, of_kind, pod_of

_SECRET = re.compile(r"(SECRET|PASSWORD|TOKEN|API_KEY|ACCESS_KEY|DATABASE_URL)")


def is_secret(variable: str) -> bool:
    """By its name."""
    return bool(_SECRET.search(variable))


def hardening(objects: Objects) -> Iterator[str]:
    """Pod Security's restricted profile, a read-only root, limits, no token nobody uses."""
    for each in of_kind(objects, *WORKLOADS):
        for problem in _of_pod(pod_of(each)["spec"]):
            yield f"{named(each)}: {problem}"
        for container in containers_of(each):
            for problem in [*_of_container(container), *_of_resources(container)]:
                yield f"{named(each)}: {problem}"


def _of_pod(spec: Mapping[str, Any]) -> Iterator[str]:
    context = spec.get("securityContext", {})
    if spec.get("automountServiceAccountToken") is not False:
        yield "mounts a token of the cluster's API that it never uses"
    if not context.get("runAsNonRoot"):
        yield "may run as root"
    if context.get("seccompProfile", {}).get("type") is None:
        yield "has no seccomp profile"
    if spec.get("hostNetwork") or spec.get("hostPID"):
        yield "shares its node's network or processes"


def _of_container(container: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "may gain privileges"
    if not context.get("readOnlyRootFilesystem"):
        yield "may write to its image"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "keeps capabilities"


def _of_resources(container: Mapping[str, Any]) -> Iterator[str]:
    resources = container.get("resources", {})
    for kind in ("requests", "limits"):
        if not {"cpu", "memory"} <= set(resources.get(kind, {})):
            yield f"says no {kind} of cpu and memory"
    gpus = [resources.get(kind, {}).get("nvidia.com/gpu") for kind in ("requests", "limits")]
    if gpus[0] != gpus[1]:
        yield "GPUs cannot be shared: requests must equal limits"


def secrets(objects: Objects) -> Iterator[str]:
    """Secrets are named, never written down."""
    for each in of_kind(objects, "Secret"):
        yield f"{named(each)}: secrets do not belong into a repository"
    for each in of_kind(objects, "ConfigMap"):
        for name in each.get("data", {}):
            if is_secret(name):
                yield f"{named(each)}: {name} belongs into a Secret"
    for each in of_kind(objects, *WORKLOADS):
        for container in containers_of(each):
            for variable in container.get("env", []):
                if "value" in variable and is_secret(variable["name"]):
                    yield f"{named(each)}: {variable['name']} is written out"


def network(objects: Objects) -> Iterator[str]:
    """Closed unless opened, and never opened to a cloud's metadata."""
    policies = of_kind(objects, "NetworkPolicy")
    closed = any(
        each["spec"]["podSelector"] == {}
        and set(each["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not each["spec"].get("ingress")
        and not each["spec"].get("egress")
        for each in policies
    )
    if not closed:
        yield "no NetworkPolicy denies by default"
    for each in policies:
        for rule in each["spec"].get("egress", []):
            for peer in rule.get("to", []):
                block = peer.get("ipBlock", {})
                if block.get("cidr") == "0.0.0.0/0" and "169.254.0.0/16" not in block.get(
                    "except", []
                ):
                    yield f"{named(each)}: lets a caller's URL reach the cloud's metadata"


def images(objects: Objects) -> Iterator[str]:
    for each in of_kind(objects, *WORKLOADS):
        for container in containers_of(each):
            image = container["image"]
            if "@sha256:" not in image and (":" not in image or image.endswith(":latest")):
                yield f"{named(each)}: image {image} has no version"
