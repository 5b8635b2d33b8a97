"""Checks of the NetworkPolicies: a denial by default, the needed ways out, and no others."""

from __future__ import annotations

from collections.abc import Iterator

from infra.check.objects import Objects, select_kinds, walk_containers
from infra.check.reachability import End, build_pod, find_pod, may_connect

EXCEPTION = "musicgen.io/exception"
"""Annotation of a policy that opens a closed address on purpose, with the reason as its value."""
RESOLVERS = {
    "kube-dns": (build_pod("kube-system", {"k8s-app": "kube-dns"}), 53),
    "NodeLocal DNSCache": (End("169.254.20.10"), 53),
    "Cloud DNS": (End("169.254.169.254"), 53),
    "LocalDNS": (End("169.254.10.11"), 53),
    "OpenShift's DNS": (
        build_pod("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}),
        5353,
    ),
}
METADATA = {
    "169.254.169.254": "EC2, GCE and Azure",
    "169.254.170.2": "ECS",
    "169.254.170.23": "EKS",
    "fd00:ec2::254": "EC2",
    "168.63.129.16": "Azure",
    "192.0.0.192": "Oracle",
}
"""Addresses that give a cloud's credentials to anybody who asks."""
PRIVATE = ("10.0.0.9", "100.64.0.9", "172.16.0.9", "192.168.0.9", "fc00::9", "64:ff9b::a00:9")
"""One address of every private network; the last one is 10.0.0.9 behind NAT64."""
PUBLIC = "8.8.8.8"


def check_denial(objects: Objects) -> Iterator[str]:
    """Check for a policy that denies all traffic of all pods."""
    is_closed = any(
        item["spec"]["podSelector"] == {}
        and set(item["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not item["spec"].get("ingress")
        and not item["spec"].get("egress")
        for item in select_kinds(objects, "NetworkPolicy")
    )
    if not is_closed:
        yield "no NetworkPolicy denies by default"


def check_ways_out(objects: Objects) -> Iterator[str]:
    """Check what each pod with the database's address reaches: names, https, nothing private."""
    strict = [item for item in objects if EXCEPTION not in item["metadata"].get("annotations", {})]
    for name in list_clients(objects):
        pod = find_pod(objects, name)
        for resolver, (end, port) in RESOLVERS.items():
            if not all(may_connect(objects, pod, end, port, p) for p in ("UDP", "TCP")):
                yield f"Deployment {name}: {resolver} cannot resolve its names"
        if not may_connect(objects, pod, End(PUBLIC), 443):
            yield f"Deployment {name}: cannot reach public addresses: buckets, webhooks, platforms"
        for address in METADATA:
            if any(may_connect(strict, pod, End(address), port) for port in (80, 443)):
                yield f"Deployment {name}: a caller's URL can reach the cloud's metadata, {address}"
        for address in PRIVATE:
            if any(may_connect(strict, pod, End(address), port) for port in (80, 443)):
                yield f"Deployment {name}: a caller's URL can reach the private address {address}"


def list_clients(objects: Objects) -> list[str]:
    """Return the names of the Deployments with `DATABASE_URL`: API, workers, relays."""
    return [
        item["metadata"]["name"]
        for item, container in walk_containers(objects, "Deployment")
        if any(variable["name"] == "DATABASE_URL" for variable in container.get("env", []))
    ]
