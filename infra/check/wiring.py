"""Objects that name each other: scalers, selectors, ports, routes, accounts, claims."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from infra.check.objects import WORKLOADS, Objects, containers_of, named, of_kind, pod_of


def autoscalers(objects: Objects) -> Iterator[str]:
    """At least as many at most as at least, and one autoscaler for each target."""
    targets: Counter[tuple[str, str]] = Counter()
    for each in of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject"):
        spec, is_keda = each["spec"], each["kind"] == "ScaledObject"
        least = spec.get("minReplicaCount", 0) if is_keda else spec.get("minReplicas", 1)
        most = spec.get("maxReplicaCount", 100) if is_keda else spec["maxReplicas"]
        if least > most:
            yield f"{named(each)}: at least {least} replicas, but at most {most}"
        target = spec["scaleTargetRef"]
        kind, name = target.get("kind", "Deployment"), target["name"]
        targets[kind, name] += 1
        found = [w for w in of_kind(objects, kind) if w["metadata"]["name"] == name]
        if not found:
            yield f"{named(each)}: scales {kind} {name}, which is not there"
        for workload in found:
            if "replicas" in workload["spec"]:
                yield f"{named(workload)}: sets replicas, which {named(each)} decides"
    for (kind, name), count in targets.items():
        if count > 1:
            yield f"{kind} {name}: {count} autoscalers pull at it"


def selectors(objects: Objects) -> Iterator[str]:
    """Whoever selects pods selects some, and a workload its own."""
    labels = [pod_of(each)["metadata"]["labels"] for each in of_kind(objects, *WORKLOADS)]

    def finds(wanted: Mapping[str, str]) -> bool:
        return any(wanted.items() <= each.items() for each in labels)

    for each in of_kind(objects, *WORKLOADS):
        own = pod_of(each)["metadata"]["labels"]
        if not each["spec"]["selector"]["matchLabels"].items() <= own.items():
            yield f"{named(each)}: its selector does not match its own pods"
    for each in objects:
        wanted = _selector_of(each)
        if wanted and not finds(wanted):
            yield f"{named(each)}: selects {dict(wanted)}, which no pod carries"


def _selector_of(each: Mapping[str, Any]) -> Mapping[str, str]:
    spec = each.get("spec", {})
    if each["kind"] == "Service":
        return dict(spec.get("selector", {}))
    if each["kind"] in ("PodDisruptionBudget", "PodMonitor"):
        return dict(spec["selector"].get("matchLabels", {}))
    if each["kind"] == "NetworkPolicy":
        return dict(spec["podSelector"].get("matchLabels", {}))
    return {}


def ports(objects: Objects) -> Iterator[str]:
    """Services, probes, monitors and routes name ports that are there."""
    pods = of_kind(objects, *WORKLOADS)
    for each in pods:
        for container in containers_of(each):
            own = {port["name"] for port in container.get("ports", [])}
            own_numbers = {port["containerPort"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = container.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None and port not in own | own_numbers:
                    yield f"{named(each)}: its {probe} asks port {port}, which is not there"
    for each in of_kind(objects, "Service", "PodMonitor"):
        wanted = _selector_of(each)
        there = {
            name
            for pod in pods
            if wanted.items() <= pod_of(pod)["metadata"]["labels"].items()
            for container in containers_of(pod)
            for port in container.get("ports", [])
            for name in (port["name"], port["containerPort"])
        }
        spec = each["spec"]
        asked = [port["targetPort"] for port in spec.get("ports", [])]
        asked += [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])]
        for port in asked:
            if port not in there:
                yield f"{named(each)}: port {port} is not one of its pods'"
    yield from _routes(objects)


def _routes(objects: Objects) -> Iterator[str]:
    services = {
        each["metadata"]["name"]: {
            name for port in each["spec"]["ports"] for name in (port["name"], port["port"])
        }
        for each in of_kind(objects, "Service")
    }
    backends = [
        (route, backend["name"], backend["port"])
        for route in of_kind(objects, "HTTPRoute")
        for rule in route["spec"]["rules"]
        for backend in rule["backendRefs"]
    ]
    for ingress in of_kind(objects, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                port = service["port"]
                backends.append((ingress, service["name"], port.get("name") or port["number"]))
    for route, name, port in backends:
        if port not in services.get(name, set()):
            yield f"{named(route)}: leads to port {port} of Service {name}, which is not there"


def references(objects: Objects) -> Iterator[str]:
    """Accounts, classes, claims and settings that a pod names are there."""
    there = {(each["kind"], each["metadata"]["name"]) for each in objects}
    for each in of_kind(objects, *WORKLOADS):
        spec = pod_of(each)["spec"]
        wanted = [
            ("ServiceAccount", spec.get("serviceAccountName")),
            ("PriorityClass", spec.get("priorityClassName")),
        ]
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            wanted.append(("PersistentVolumeClaim", claim))
        for container in containers_of(each):
            sources = container.get("envFrom", [])
            wanted += [("ConfigMap", s.get("configMapRef", {}).get("name")) for s in sources]
        for kind, name in wanted:
            if name is not None and (kind, name) not in there:
                yield f"{named(each)}: {kind} {name} is not there"
