"""Rendered Kubernetes objects, with the accessors of all checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Objects = Sequence[Mapping[str, Any]]
Check = Callable[[Objects], Iterator[str]]
"""Takes all objects of an overlay; yields the problems, each with the object's name."""

PART_OF = "app.kubernetes.io/part-of"
"""Label of every object of this project; its value is `musicgen`."""
WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet", "Job")


def describe(item: Mapping[str, Any]) -> str:
    """Return the kind and the name of an object."""
    return f"{item['kind']} {item['metadata']['name']}"


def select_kinds(objects: Objects, *kinds: str) -> list[Mapping[str, Any]]:
    """Return the objects of the given kinds."""
    return [item for item in objects if item["kind"] in kinds]


def get_pod(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the pod template of a workload."""
    pod: Mapping[str, Any] = workload["spec"]["template"]
    return pod


def list_containers(workload: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the init containers and the containers of a workload."""
    spec = get_pod(workload)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def walk_containers(
    objects: Objects, *kinds: str
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Yield every container with its workload; `kinds`: all workloads by default."""
    for workload in select_kinds(objects, *(kinds or WORKLOADS)):
        for container in list_containers(workload):
            yield workload, container


def list_gpus(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the GPUs among requests or limits by resource: whole, shared, or parts by MIG."""
    return {name: value for name, value in resources.items() if name.startswith("nvidia.com/")}


def find_settings(objects: Objects) -> dict[str, str]:
    """Return the settings of the ConfigMaps that pods read as their environment."""
    names = {
        source.get("configMapRef", {}).get("name")
        for _, container in walk_containers(objects)
        for source in container.get("envFrom", [])
    }
    settings: dict[str, str] = {}
    for item in select_kinds(objects, "ConfigMap"):
        if item["metadata"]["name"] in names:
            settings |= item.get("data", {})
    return settings
