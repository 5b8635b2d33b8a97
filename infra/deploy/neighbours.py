"""Checks of what others in the cluster must provide: a way in, Prometheus, certificates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from infra.check.objects import Objects, select_kinds
from infra.check.reachability import matches_selector
from infra.deploy.target import Check

ISSUER = "cert-manager.io/cluster-issuer"
"""Annotation with the name of an issuer; cert-manager reads it."""
CERT_MANAGER = "cert-manager.io/v1"

Exists = Callable[[str, str], bool]
"""Takes a resource and a name; returns whether the cluster has that object."""


def list_issuers(objects: Objects) -> set[str]:
    """Return the names of the issuers in annotations."""
    issuers = {item["metadata"].get("annotations", {}).get(ISSUER) for item in objects}
    return issuers - {None}


def check_issuers(objects: Objects, exists: Exists) -> Iterator[Check]:
    """Check the issuers of certificates: without one, the gateway never gets its certificate."""
    for issuer in sorted(list_issuers(objects)):
        is_there = exists("clusterissuers.cert-manager.io", issuer)
        detail = "" if is_there else "create it: docs/kubernetes.md, Certificates"
        yield Check(f"ClusterIssuer {issuer}", is_there, detail)


def check_namespaces(objects: Objects, namespaces: Sequence[dict[str, Any]]) -> Iterator[Check]:
    """Check that a namespace has the label of each policy for callers and for Prometheus."""
    labels = [namespace["metadata"].get("labels", {}) for namespace in namespaces]
    policies = {p["metadata"]["name"]: p["spec"] for p in select_kinds(objects, "NetworkPolicy")}
    needed = {}
    if select_kinds(objects, "Gateway", "Ingress") and "load-balancer" not in policies:
        needed["api"] = "callers"
    if select_kinds(objects, "PodMonitor"):
        needed["monitoring"] = "Prometheus"
    for name in sorted(needed.keys() & policies.keys()):
        selectors = [
            peer["namespaceSelector"]
            for rule in policies[name]["ingress"]
            for peer in rule.get("from", [])
            if "namespaceSelector" in peer
        ]
        is_met = any(matches_selector(s, own) for s in selectors for own in labels)
        wanted = " or ".join(
            f"{key}={value}" for s in selectors for key, value in s["matchLabels"].items()
        )
        detail = f"no namespace has the label {wanted}"
        if name == "api":
            detail += ". A load balancer that is no pod needs the component load-balancer."
        yield Check(f"namespace of {needed[name]}", is_met, "" if is_met else detail)
