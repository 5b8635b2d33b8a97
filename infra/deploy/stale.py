"""Objects of an earlier overlay or release that the overlay no longer has."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from infra.check.objects import PART_OF, Objects

RESOURCES = {
    "v1": ("services", "serviceaccounts"),
    "apps/v1": ("deployments.apps", "daemonsets.apps"),
    "autoscaling/v2": ("horizontalpodautoscalers.autoscaling",),
    "policy/v1": ("poddisruptionbudgets.policy",),
    "networking.k8s.io/v1": ("networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io"),
    "gateway.networking.k8s.io/v1": (
        "gateways.gateway.networking.k8s.io",
        "httproutes.gateway.networking.k8s.io",
    ),
    "keda.sh/v1alpha1": ("scaledobjects.keda.sh", "triggerauthentications.keda.sh"),
    "monitoring.coreos.com/v1": (
        "podmonitors.monitoring.coreos.com",
        "prometheusrules.monitoring.coreos.com",
    ),
}
"""Kinds to delete, by API version.

Not among them: volumes and Secrets, and ExternalSecrets, which take their Secret along; ConfigMaps,
because a rollback needs those of earlier releases; and cluster-wide objects.
"""

Get = Callable[[str], str]
"""Takes comma-separated resources; returns the objects with the project's label, as JSON."""
SELECTOR = f"{PART_OF}=musicgen"


def find_stale(objects: Objects, served: Sequence[str], get: Get) -> list[str]:
    """Return the stale objects as `kind.group/name`. An object with an owner belongs to it."""
    resources = [name for version in RESOURCES if version in served for name in RESOURCES[version]]
    rendered = {_identify(item) for item in objects}
    return sorted(
        _name(item)
        for item in json.loads(get(",".join(resources)))["items"]
        if not item["metadata"].get("ownerReferences") and _identify(item) not in rendered
    )


def _identify(item: Any) -> tuple[str, str, str]:
    group = item["apiVersion"].rpartition("/")[0]
    return group, item["kind"], item["metadata"]["name"]


def _name(item: Any) -> str:
    group, kind, name = _identify(item)
    return f"{kind.lower()}{'.' if group else ''}{group}/{name}"
