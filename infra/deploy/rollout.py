"""Time of a rollout: pods are replaced in rounds, and a pod of a worker ends its jobs first."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

from infra.check.objects import Objects, select_kinds
from infra.check.scheduling import measure_replacement

SPARE_SECONDS = 1800
"""For a node, an image and weights: once for a whole rollout."""


def measure_rollout(objects: Objects, name: str) -> int:
    """Return the longest time in seconds of a good rollout of a Deployment with the most pods."""
    for item in select_kinds(objects, "Deployment"):
        if item["metadata"]["name"] == name:
            strategy = item["spec"].get("strategy", {}).get("rollingUpdate", {})
            pods = _count_pods(objects, name, item["spec"].get("replicas", 1))
            at_once = _count_share(strategy.get("maxUnavailable", "25%"), pods, floor)
            at_once += _count_share(strategy.get("maxSurge", "25%"), pods, ceil)
            return SPARE_SECONDS + ceil(pods / max(1, at_once)) * measure_replacement(item)
    return SPARE_SECONDS


def _count_pods(objects: Objects, name: str, replicas: int) -> int:
    for scaler in select_kinds(objects, "ScaledObject", "HorizontalPodAutoscaler"):
        spec = scaler["spec"]
        if spec["scaleTargetRef"]["name"] == name:
            return int(spec.get("maxReplicaCount") or spec.get("maxReplicas", replicas))
    return replicas


def _count_share(share: Any, pods: int, rounding: Any) -> int:
    if isinstance(share, str):
        return int(rounding(pods * int(share.removesuffix("%")) / 100))
    return int(share)
