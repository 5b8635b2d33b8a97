"""Rendered objects, and what every check asks of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Objects = Sequence[Mapping[str, Any]]
Check = Callable[[Objects], Iterator[str]]
"""Takes all objects of an overlay; yields what is wrong, in words that name the object."""

WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet", "Job")


def named(each: Mapping[str, Any]) -> str:
    return f"{each['kind']} {each['metadata']['name']}"


def of_kind(objects: Objects, *kinds: str) -> list[Mapping[str, Any]]:
    return [each for each in objects if each["kind"] in kinds]


def pod_of(each: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = each["spec"]["template"]
    return found


def containers_of(each: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = pod_of(each)["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]
