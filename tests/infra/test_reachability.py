"""Who may reach whom, by the rendered NetworkPolicies and the semantics of their API."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from infra.check import overlays
from infra.check.reachability import End, build_pod, find_pod, matches_selector, may_connect
from infra.check.tools import find_tool
from musicgen.net.ssrf import is_allowed

needs_kubectl = pytest.mark.skipif(
    find_tool("kubectl") is None, reason="needs kubectl: `make check-infra` brings it and runs this"
)
OPEN, CLOSED = True, False
SOLVER = build_pod("musicgen", {"acme.cert-manager.io/http01-solver": "true"})
OUTSIDE: dict[str, End] = {
    "kube-dns": build_pod("kube-system", {"k8s-app": "kube-dns"}),
    "node-local-dns": build_pod("kube-system", {"k8s-app": "node-local-dns"}),
    "a pod called kube-dns elsewhere": build_pod("other", {"k8s-app": "kube-dns"}),
    "OpenShift's DNS": build_pod(
        "openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}
    ),
    "NodeLocal DNSCache": End("169.254.20.10"),
    "AKS' LocalDNS": End("169.254.10.11"),
    "the metadata server": End("169.254.169.254"),
    "GKE's metadata server behind Calico": End("169.254.169.252"),
    "EKS' identity agent": End("169.254.170.23"),
    "EKS' identity agent by IPv6": End("fd00:ec2::23"),
    "ECS' credentials": End("169.254.170.2"),
    "a database in the cluster": build_pod("postgres", {"app": "postgresql"}),
    "a database at a private address": End("10.20.0.5"),
    "a public address": End("8.8.8.8"),
    "a public IPv6 address": End("2001:4860:4860::8888"),
    "a private address": End("10.0.3.9"),
    "a private address behind NAT64": End("64:ff9b::a00:309"),
    "a private IPv6 address": End("fd12::9"),
    "the internet's load balancer": End("192.0.2.7"),
    "the gateway": build_pod(
        "envoy-gateway-system", {"app": "envoy"}, **{"musicgen.io__gateway": "true"}
    ),
    "another pod of the cluster": build_pod("other", {"app": "shop"}),
    "Prometheus": build_pod("monitoring", {"app": "x"}, **{"musicgen.io__monitoring": "true"}),
    "the solver": SOLVER,
}
API, WORKER, RELAY = "musicgen-api", "musicgen-worker", "musicgen-relay"
TABLE: list[tuple[str, str, str, int, str, bool]] = [
    # overlay, source, target, port, protocol, expected
    ("production", API, "kube-dns", 53, "UDP", OPEN),
    ("production", WORKER, "kube-dns", 53, "TCP", OPEN),
    ("production", WORKER, "node-local-dns", 53, "UDP", OPEN),
    ("production", WORKER, "NodeLocal DNSCache", 53, "UDP", OPEN),
    ("production", WORKER, "NodeLocal DNSCache", 80, "TCP", CLOSED),
    ("production", WORKER, "the metadata server", 53, "UDP", OPEN),
    ("production", WORKER, "AKS' LocalDNS", 53, "UDP", OPEN),
    ("production", WORKER, "AKS' LocalDNS", 443, "TCP", CLOSED),
    ("production", WORKER, "OpenShift's DNS", 5353, "UDP", OPEN),
    ("production", WORKER, "OpenShift's DNS", 53, "UDP", CLOSED),
    ("production", WORKER, "a pod called kube-dns elsewhere", 53, "UDP", CLOSED),
    ("production", "the solver", "kube-dns", 53, "UDP", OPEN),
    ("production", API, "a database in the cluster", 5432, "TCP", OPEN),
    ("production", WORKER, "a database at a private address", 5432, "TCP", OPEN),
    ("production", WORKER, "a database at a private address", 6432, "TCP", CLOSED),
    ("production", API, "a public address", 443, "TCP", OPEN),
    ("production", WORKER, "a public address", 443, "TCP", OPEN),
    ("production", WORKER, "a public IPv6 address", 443, "TCP", OPEN),
    ("production", WORKER, "a public address", 80, "TCP", CLOSED),
    ("production", WORKER, "a private address", 443, "TCP", CLOSED),
    ("production", WORKER, "a private IPv6 address", 443, "TCP", CLOSED),
    ("production", WORKER, "a private address behind NAT64", 443, "TCP", CLOSED),
    ("production", API, "the metadata server", 80, "TCP", CLOSED),
    ("production", WORKER, "the metadata server", 80, "TCP", CLOSED),
    ("production", WORKER, "the metadata server", 443, "TCP", CLOSED),
    ("production", WORKER, "EKS' identity agent", 80, "TCP", CLOSED),
    ("production", WORKER, "ECS' credentials", 80, "TCP", CLOSED),
    ("production", "the gateway", API, 8000, "TCP", OPEN),
    ("production", "the gateway", WORKER, 9464, "TCP", CLOSED),
    ("production", "the gateway", "the solver", 8089, "TCP", OPEN),
    ("production", "another pod of the cluster", "the solver", 8089, "TCP", CLOSED),
    ("production", "another pod of the cluster", API, 8000, "TCP", CLOSED),
    ("production", "the internet's load balancer", API, 8000, "TCP", CLOSED),
    ("production", "Prometheus", API, 9464, "TCP", OPEN),
    ("production", "Prometheus", API, 8000, "TCP", CLOSED),
    ("production", "the gateway", API, 9464, "TCP", CLOSED),
    ("production", "Prometheus", WORKER, 9464, "TCP", OPEN),
    ("production", "Prometheus", WORKER, 5432, "TCP", CLOSED),
    ("production", API, WORKER, 9464, "TCP", CLOSED),
    ("production", WORKER, API, 8000, "TCP", CLOSED),
    ("production", API, API, 8000, "TCP", CLOSED),
    ("production", WORKER, "another pod of the cluster", 443, "TCP", CLOSED),
    ("spot", WORKER, "NodeLocal DNSCache", 53, "UDP", OPEN),
    ("spot", "the gateway", "the solver", 8089, "TCP", OPEN),
    ("local", "the gateway", "the solver", 8089, "TCP", OPEN),
    ("production with relay", RELAY, "a public address", 443, "TCP", OPEN),
    ("production with relay", "Prometheus", RELAY, 9464, "TCP", OPEN),
    ("production with relay", RELAY, "the metadata server", 80, "TCP", CLOSED),
    ("production with load-balancer", "the internet's load balancer", API, 8000, "TCP", OPEN),
    ("production with load-balancer", "the internet's load balancer", WORKER, 9464, "TCP", CLOSED),
    (
        "production with load-balancer",
        "the internet's load balancer",
        "the solver",
        8089,
        "TCP",
        OPEN,
    ),
    ("production with identity-eks", WORKER, "EKS' identity agent", 80, "TCP", OPEN),
    ("production with identity-eks", API, "EKS' identity agent by IPv6", 80, "TCP", OPEN),
    ("production with identity-eks", WORKER, "the metadata server", 80, "TCP", CLOSED),
    ("production with identity-eks", "the solver", "EKS' identity agent", 80, "TCP", CLOSED),
    ("production with identity-gke", WORKER, "the metadata server", 80, "TCP", OPEN),
    (
        "production with identity-gke",
        WORKER,
        "GKE's metadata server behind Calico",
        988,
        "TCP",
        OPEN,
    ),
    ("production with identity-gke", WORKER, "the metadata server", 443, "TCP", CLOSED),
    ("production with identity-gke", "the solver", "the metadata server", 80, "TCP", CLOSED),
    ("production with bucket-endpoint", WORKER, "the internet's load balancer", 443, "TCP", OPEN),
    ("production with bucket-endpoint", WORKER, "a private address", 443, "TCP", CLOSED),
]


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[dict[str, Any]]]:
    return overlays.render_all()


@needs_kubectl
@pytest.mark.parametrize("row", TABLE, ids=[f"{r[0]}-{r[1]}-{r[2]}-{r[3]}-{r[4]}" for r in TABLE])
def test_a_connection_is_open_or_closed(
    rendered: dict[str, list[dict[str, Any]]], row: tuple[str, str, str, int, str, bool]
) -> None:
    overlay, source, target, port, protocol, expected = row
    objects = rendered[overlay]
    ends = [OUTSIDE.get(name) or find_pod(objects, name) for name in (source, target)]
    assert may_connect(objects, ends[0], ends[1], port, protocol) is expected


@pytest.mark.parametrize("name", [name for name, end in OUTSIDE.items() if end.address])
def test_an_address_opened_for_a_cloud_is_refused_as_a_callers_url(name: str) -> None:
    """A policy cannot tell the worker's own request from one for a caller, so the code must."""
    is_public = name.startswith("a public")
    assert is_allowed(ip_address(str(OUTSIDE[name].address)), ()) is is_public


def _policy(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "NetworkPolicy",
        "metadata": {"name": "p", "namespace": "here"},
        "spec": {"podSelector": {}, **spec},
    }


def _web(namespace: str = "here", address: str | None = None) -> End:
    return End(address, namespace, {"app": "web"}, {"team": namespace}, {"http": 8080})


PEER_IN_OTHER = {"namespaceSelector": {"matchLabels": {"team": "other"}}}
SEMANTICS: dict[str, tuple[dict[str, Any], End, End, int, bool]] = {
    "no rule denies": ({"policyTypes": ["Ingress"]}, End("8.8.8.8"), _web(), 8080, CLOSED),
    "an empty rule allows all": ({"ingress": [{}]}, End("8.8.8.8"), _web(), 8080, OPEN),
    "an ingress policy leaves the egress open": (
        {"ingress": []}, _web(), End("8.8.8.8"), 443, OPEN,
    ),
    "a policy with egress rules closes the egress": (
        {"egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}]},
        _web(), End("8.8.8.8"), 53, CLOSED,
    ),
    "another namespace is not bound": ({"ingress": []}, _web(), _web("other"), 8080, OPEN),
    "pods without a namespace selector are the policy's own": (
        {"ingress": [{"from": [{"podSelector": {}}]}]}, _web("other"), _web(), 8080, CLOSED,
    ),
    "one entry with both selectors needs both": (
        {"ingress": [{"from": [{**PEER_IN_OTHER, "podSelector": {"matchLabels": {"app": "x"}}}]}]},
        _web("other"), _web(), 8080, CLOSED,
    ),
    "two entries need one": (
        {"ingress": [{"from": [PEER_IN_OTHER, {"podSelector": {"matchLabels": {"app": "x"}}}]}]},
        _web("other"), _web(), 8080, OPEN,
    ),
    "a block without its exceptions": (
        {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]},
        _web(), End("10.1.1.1"), 443, CLOSED,
    ),
    "a block of another family": (
        {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
        _web(), End("2001:db8::1"), 443, CLOSED,
    ),
    "a named port": ({"ingress": [{"ports": [{"port": "http"}]}]}, _web(), _web(), 8080, OPEN),
    "another named port": ({"ingress": [{"ports": [{"port": "x"}]}]}, _web(), _web(), 8080, CLOSED),
    "a range of ports": (
        {"egress": [{"ports": [{"port": 8000, "endPort": 8100}]}]},
        _web(), _web("other"), 8100, OPEN,
    ),
    "past a range of ports": (
        {"egress": [{"ports": [{"port": 8000, "endPort": 8100}]}]},
        _web(), _web("other"), 8101, CLOSED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SEMANTICS.values(), ids=SEMANTICS)
def test_the_simulator_follows_the_api(case: tuple[dict[str, Any], End, End, int, bool]) -> None:
    spec, source, target, port, expected = case
    assert may_connect([_policy(spec)], source, target, port) is expected


def test_both_directions_must_be_open() -> None:
    deny = {"policyTypes": ["Ingress", "Egress"]}
    out = {"egress": [{}], "podSelector": {"matchLabels": {"app": "client"}}}
    client = End(None, "here", {"app": "client"})
    assert not may_connect([_policy(deny), _policy(out)], client, _web(), 8080)
    assert may_connect([_policy(deny), _policy(out), _policy({"ingress": [{}]})], client, _web(), 1)


@pytest.mark.parametrize(
    ("operator", "values", "fits"),
    [
        ("In", ["web", "x"], True),
        ("In", ["x"], False),
        ("NotIn", ["x"], True),
        ("NotIn", ["web"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_expressions_of_a_selector(operator: str, values: list[str], fits: bool) -> None:
    selector = {"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}
    assert matches_selector(selector, {"app": "web"}) is fits
