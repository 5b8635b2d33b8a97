"""Checks of references between objects: scalers, selectors, ports, routes, accounts, claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.check.objects import WORKLOADS, Objects, describe, get_pod, list_containers, select_kinds
from infra.check.reachability import matches_selector
from musicgen.errors.counts import format_count

LABELS_OF_OTHERS = {"acme.cert-manager.io/http01-solver"}
"""Labels of pods that an operator of the cluster starts here."""


def check_autoscalers(objects: Objects) -> Iterator[str]:
    """Check the limits and targets of autoscalers: one autoscaler for each target."""
    targets: Counter[tuple[str, str]] = Counter()
    for item in select_kinds(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        spec, is_keda = item["spec"], item["kind"] == "ScaledObject"
        least = spec.get("minReplicaCount", 0) if is_keda else spec.get("minReplicas", 1)
        most = spec.get("maxReplicaCount", 100) if is_keda else spec["maxReplicas"]
        if least > most:
            yield f"{describe(item)}: at least {format_count(least, 'replica')}, but at most {most}"
        target = spec["scaleTargetRef"]
        kind, name = target.get("kind", "Deployment"), target["name"]
        targets[kind, name] += 1
        workloads = [w for w in select_kinds(objects, kind) if w["metadata"]["name"] == name]
        if not workloads:
            yield f"{describe(item)}: scales a missing {kind} {name}"
        for workload in workloads:
            if "replicas" in workload["spec"]:
                yield f"{describe(workload)}: sets replicas, but {describe(item)} scales it"
    for (kind, name), count in targets.items():
        if count > 1:
            yield f"{kind} {name}: {format_count(count, 'autoscaler')} scale it, one is allowed"


def check_selectors(objects: Objects) -> Iterator[str]:
    """Check every selector of pods for a match; a workload must match its own pods."""
    labels = [get_pod(item)["metadata"]["labels"] for item in select_kinds(objects, *WORKLOADS)]
    for item in select_kinds(objects, *WORKLOADS):
        own = get_pod(item)["metadata"]["labels"]
        if not matches_selector(item["spec"]["selector"], own):
            yield f"{describe(item)}: its selector does not match its own pods"
    for item in objects:
        selector = _get_selector(item)
        if selector.get("matchLabels", {}).keys() & LABELS_OF_OTHERS:
            continue
        if not any(matches_selector(selector, pod) for pod in labels):
            yield f"{describe(item)}: no pod has the labels of its selector, {dict(selector)}"


def _get_selector(item: Mapping[str, Any]) -> Mapping[str, Any]:
    spec = item.get("spec", {})
    if item["kind"] == "Service":
        return {"matchLabels": spec.get("selector", {})}
    if item["kind"] in ("PodDisruptionBudget", "PodMonitor"):
        return dict(spec["selector"])
    return dict(spec["podSelector"]) if item["kind"] == "NetworkPolicy" else {}


def check_ports(objects: Objects) -> Iterator[str]:
    """Check the ports of services, probes, monitors and routes."""
    pods = select_kinds(objects, *WORKLOADS)
    for item in pods:
        for container in list_containers(item):
            own = {port["name"] for port in container.get("ports", [])}
            own_numbers = {port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in own | own_numbers:
                    yield f"{describe(item)}: its {probe} uses a missing port {port}"
    for item in select_kinds(objects, "Service", "PodMonitor"):
        selector = _get_selector(item)
        pod_ports = {
            name
            for pod in pods
            if matches_selector(selector, get_pod(pod)["metadata"]["labels"])
            for container in list_containers(pod)
            for port in container.get("ports", [])
            for name in (port["name"], port["containerPort"])
        }
        spec = item["spec"]
        targets = [port["targetPort"] for port in spec.get("ports", [])]
        targets += [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])]
        for port in targets:
            if port not in pod_ports:
                yield f"{describe(item)}: its pods have no port {port}"
    yield from _check_routes(objects)


def _check_routes(objects: Objects) -> Iterator[str]:
    services = {
        item["metadata"]["name"]: {
            name for port in item["spec"]["ports"] for name in (port["name"], port["port"])
        }
        for item in select_kinds(objects, "Service")
    }
    backends = [
        (route, backend["name"], backend["port"])
        for route in select_kinds(objects, "HTTPRoute")
        for rule in route["spec"]["rules"]
        for backend in rule.get("backendRefs", [])
    ]
    for ingress in select_kinds(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                port = service["port"]
                backends.append((ingress, service["name"], port.get("name") or port["number"]))
    for route, name, port in backends:
        if port not in services.get(name, set()):
            yield f"{describe(route)}: leads to a missing port {port} of Service {name}"


def check_references(objects: Objects) -> Iterator[str]:
    """Check the accounts, classes, claims and settings of pods for missing ones."""
    existing = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for item in select_kinds(objects, *WORKLOADS):
        spec = get_pod(item)["spec"]
        references = [
            ("ServiceAccount", spec.get("serviceAccountName")),
            ("PriorityClass", spec.get("priorityClassName")),
        ]
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            references.append(("PersistentVolumeClaim", claim))
        for container in list_containers(item):
            sources = container.get("envFrom", [])
            references += [("ConfigMap", s.get("configMapRef", {}).get("name")) for s in sources]
        for kind, name in references:
            if name is not None and (kind, name) not in existing:
                yield f"{describe(item)}: {kind} {name} is missing"
