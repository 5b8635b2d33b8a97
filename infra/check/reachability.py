"""Simulator of NetworkPolicies: whether one end may open a connection to the other.

Rules of the API `networking.k8s.io/v1`: a pod without a policy of a direction is open in that
direction; several policies add up; a connection needs the source's egress and the target's ingress.
An `ipBlock` is matched against the address of an end, also of a pod. A kubelet always reaches the
pods of its node, so probes are not simulated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from infra.check.objects import WORKLOADS, Objects, get_pod, list_containers, select_kinds

NAMESPACE_LABEL = "kubernetes.io/metadata.name"
"""Label of every namespace, set by the API server to the namespace's name."""


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod, an address, or a pod with an address.

    `namespace` is None outside the cluster. `ports` are the named ports of a pod.
    """

    address: str | None = None
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, int] = field(default_factory=dict)


def build_pod(namespace: str, labels: Mapping[str, str], **namespace_labels: str) -> End:
    """Return a pod of another application; `a__b` in a label's name stands for `a/b`."""
    own = {name.replace("__", "/"): value for name, value in namespace_labels.items()}
    return End(None, namespace, labels, {NAMESPACE_LABEL: namespace, **own})


def find_pod(objects: Objects, name: str) -> End:
    """Return the pod of the rendered workload `name`."""
    (workload,) = (w for w in select_kinds(objects, *WORKLOADS) if w["metadata"]["name"] == name)
    namespace = workload["metadata"]["namespace"]
    ports = {
        port["name"]: port["containerPort"]
        for container in list_containers(workload)
        for port in container.get("ports", [])
    }
    labels = get_pod(workload)["metadata"]["labels"]
    return End(None, namespace, labels, {NAMESPACE_LABEL: namespace}, ports)


def may_connect(
    objects: Objects, source: End, target: End, port: int, protocol: str = "TCP"
) -> bool:
    """Return whether the policies among `objects` let `source` connect to a port of `target`."""
    policies = select_kinds(objects, "NetworkPolicy")
    return _is_allowed(policies, "Egress", source, target, target, port, protocol) and _is_allowed(
        policies, "Ingress", target, source, target, port, protocol
    )


def has_way_out(objects: Objects, source: End, port: int) -> bool:
    """Return whether the policies let `source` connect to this TCP port of any address at all."""
    binding = [
        policy
        for policy in select_kinds(objects, "NetworkPolicy")
        if _is_bound(policy, "Egress", source)
    ]
    return not binding or any(
        _has_port(rule.get("ports"), End(), port, "TCP")
        for policy in binding
        for rule in policy["spec"].get("egress", [])
    )


def _is_allowed(
    policies: Iterable[Mapping[str, Any]],
    direction: str,
    own: End,
    other: End,
    target: End,
    port: int,
    protocol: str,
) -> bool:
    """Return whether the policies of the end `own` allow the end `other` in one direction."""
    binding = [policy for policy in policies if _is_bound(policy, direction, own)]
    if not binding:
        return True
    peers, rules = ("to", "egress") if direction == "Egress" else ("from", "ingress")
    return any(
        _has_peer(rule.get(peers), policy["metadata"]["namespace"], other)
        and _has_port(rule.get("ports"), target, port, protocol)
        for policy in binding
        for rule in policy["spec"].get(rules, [])
    )


def _is_bound(policy: Mapping[str, Any], direction: str, end: End) -> bool:
    spec = policy["spec"]
    default = ["Ingress", "Egress"] if "egress" in spec else ["Ingress"]
    return (
        direction in spec.get("policyTypes", default)
        and end.namespace == policy["metadata"]["namespace"]
        and matches_selector(spec["podSelector"], end.labels)
    )


def _has_peer(peers: list[Mapping[str, Any]] | None, namespace: str, end: End) -> bool:
    """Return whether an end is among the peers of a rule; a rule without peers has all."""
    return not peers or any(_is_peer(peer, namespace, end) for peer in peers)


def _is_peer(peer: Mapping[str, Any], namespace: str, end: End) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        return end.address is not None and (
            _is_within(end.address, block["cidr"])
            and not any(_is_within(end.address, part) for part in block.get("except", []))
        )
    if end.namespace is None:
        return False
    if "namespaceSelector" in peer:
        is_there = matches_selector(peer["namespaceSelector"], end.namespace_labels)
    else:
        is_there = end.namespace == namespace
    return is_there and matches_selector(peer.get("podSelector", {}), end.labels)


def _is_within(address: str, block: str) -> bool:
    return ip_address(address) in ip_network(block)


def _has_port(ports: list[Mapping[str, Any]] | None, target: End, port: int, protocol: str) -> bool:
    return not ports or any(
        entry.get("protocol", "TCP") == protocol and _is_port(entry, target, port)
        for entry in ports
    )


def _is_port(entry: Mapping[str, Any], target: End, port: int) -> bool:
    first = entry.get("port")
    if first is None:
        return True
    if isinstance(first, str):
        return target.ports.get(first) == port
    return int(first) <= port <= int(entry.get("endPort", first))


def matches_selector(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether labels fit a label selector; an empty selector fits all."""
    wanted: Mapping[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items() and all(
        _fits(expression, labels) for expression in selector.get("matchExpressions", [])
    )


def _fits(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    values: Sequence[str] = expression.get("values", [])
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return bool((key in labels) == (operator == "Exists"))
