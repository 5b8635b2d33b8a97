"""Checks of places and lives of pods: nodes, evictions, disk, rollouts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.check.objects import WORKLOADS, Objects, describe, get_pod, list_containers, select_kinds
from infra.check.reachability import matches_selector
from musicgen.errors.counts import format_count

WORKER = "musicgen-worker"
COMPANIONS = ("musicgen-prepull", "musicgen-placeholder")
"""Workloads that prepare a worker's node, so they must run on the same nodes."""
_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_QUANTITY = re.compile(r"(\d+)([KMGT]i)?$")


def check_companions(objects: Objects) -> Iterator[str]:
    """Check that the companions of a worker run on its nodes: tolerations, labels, runtime."""
    workers = [w for w in select_kinds(objects, "Deployment") if w["metadata"]["name"] == WORKER]
    for worker in workers:
        spec = get_pod(worker)["spec"]
        for item in select_kinds(objects, *WORKLOADS):
            if item["metadata"]["name"] not in COMPANIONS:
                continue
            own = get_pod(item)["spec"]
            if any(toleration not in own["tolerations"] for toleration in spec["tolerations"]):
                yield f"{describe(item)}: lacks a toleration of {describe(worker)}"
            if own.get("nodeSelector") != spec.get("nodeSelector"):
                yield f"{describe(item)}: selects other nodes than {describe(worker)}"


def check_disruptions(objects: Objects) -> Iterator[str]:
    """Check that a node with a pod can be drained."""
    scalers = {
        scaler["spec"]["scaleTargetRef"]["name"]: scaler["spec"].get("minReplicas", 1)
        for scaler in select_kinds(objects, "HorizontalPodAutoscaler")
    }
    for budget in select_kinds(objects, "PodDisruptionBudget"):
        spec = budget["spec"]
        for item in select_kinds(objects, "Deployment"):
            if not matches_selector(spec["selector"], get_pod(item)["metadata"]["labels"]):
                continue
            fewest = scalers.get(item["metadata"]["name"], item["spec"].get("replicas", 1))
            needed = spec.get("minAvailable", 0)
            if spec.get("maxUnavailable") in (0, "0%") or (
                fewest <= needed if isinstance(needed, int) else needed == "100%"
            ):
                pods = format_count(fewest, "pod")
                yield f"{describe(budget)}: no node with one of {pods} can be drained"


def check_disk(objects: Objects) -> Iterator[str]:
    """Check the limit of the disk against the volumes on it: a pod over its limit is evicted."""
    for item in select_kinds(objects, *WORKLOADS):
        volumes = [
            v["emptyDir"] for v in get_pod(item)["spec"].get("volumes", []) if "emptyDir" in v
        ]
        if any("sizeLimit" not in volume for volume in volumes):
            yield f"{describe(item)}: an emptyDir has no sizeLimit"
            continue
        needed = sum(parse_quantity(volume["sizeLimit"]) for volume in volumes)
        limits = [
            c["resources"].get("limits", {}).get("ephemeral-storage") for c in list_containers(item)
        ]
        if None not in limits and sum(map(parse_quantity, limits)) < needed:
            yield f"{describe(item)}: its ephemeral-storage is less than its volumes on the disk"


def check_rollouts(objects: Objects) -> Iterator[str]:
    """Check the deadline of a rollout that waits for the end of an old pod before each new one."""
    for item in select_kinds(objects, "Deployment"):
        strategy = item["spec"].get("strategy", {}).get("rollingUpdate", {})
        if strategy.get("maxSurge") == 0:
            deadline = item["spec"].get("progressDeadlineSeconds", 600)
            needed = measure_replacement(item)
            if deadline < needed:
                yield f"{describe(item)}: a rollout fails after {deadline} s of {needed} s a pod"


def measure_replacement(workload: Mapping[str, Any]) -> int:
    """Return the longest time in seconds to stop one pod and start its successor."""
    spec = get_pod(workload)["spec"]
    probe = spec["containers"][0].get("startupProbe", {})
    start = probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3)
    return int(spec.get("terminationGracePeriodSeconds", 30) + start)


def parse_quantity(text: str) -> int:
    """Return a quantity of bytes with a binary unit. Raises: ValueError."""
    found = _QUANTITY.match(str(text))
    if found is None:
        raise ValueError(f"{text!r} is not a quantity with a unit Ki, Mi, Gi or Ti.")
    return int(found[1]) * _UNITS[found[2] or ""]
