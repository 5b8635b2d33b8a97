"""The rendered manifests have no problems, and each kind of mistake is found."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.check import overlays
from infra.check.objects import describe, find_settings
from infra.check.tools import find_tool
from musicgen.settings.table import list_variables
from tests.support import ROOT

pytestmark = pytest.mark.skipif(
    find_tool("kubectl") is None, reason="needs kubectl: `make check-infra` brings it and runs this"
)
Object = dict[str, Any]


@pytest.fixture(scope="module")
def overlay_objects() -> dict[str, list[Object]]:
    return overlays.render_all()


def test_there_is_nothing_wrong() -> None:
    assert overlays.problems() == []


def test_only_a_cluster_without_a_bucket_shares_a_volume(
    overlay_objects: dict[str, list[Object]],
) -> None:
    """A volume for several nodes is not to be had on every cluster."""
    claims = {
        name: [
            each["metadata"]["name"] for each in objects if each["kind"] == "PersistentVolumeClaim"
        ]
        for name, objects in overlay_objects.items()
    }
    assert claims["local"] == ["musicgen-data"]
    assert claims["production"] == claims["spot"] == claims["production with relay"] == []


def _the(objects: list[Object], name: str) -> Object:
    return next(each for each in objects if describe(each) == name)


def _pod(objects: list[Object], name: str = "Deployment musicgen-worker") -> Object:
    spec: Object = _the(objects, name)["spec"]["template"]["spec"]
    return spec


def _worker(objects: list[Object]) -> Object:
    container: Object = _pod(objects)["containers"][0]
    return container


def _hpa(objects: list[Object]) -> Object:
    spec: Object = _the(objects, "HorizontalPodAutoscaler musicgen-api")["spec"]
    return spec


def _route(objects: list[Object]) -> Object:
    rule: Object = _the(objects, "HTTPRoute musicgen")["spec"]["rules"][0]
    return rule


def _settings(objects: list[Object]) -> Object:
    """Return the data of the ConfigMap; its name ends with a hash."""
    maps = [each for each in objects if each["kind"] == "ConfigMap"]
    data: Object = next(each for each in maps if "MUSICGEN_SLOTS" in each["data"])["data"]
    return data


def _get_scaler(objects: list[Object]) -> Object:
    spec: Object = _the(objects, "ScaledObject musicgen-worker")["spec"]
    return spec


def _second_autoscaler(objects: list[Object]) -> None:
    second = copy.deepcopy(_the(objects, "HorizontalPodAutoscaler musicgen-api"))
    second["metadata"]["name"] = "second"
    second["spec"]["scaleTargetRef"]["name"] = "musicgen-worker"
    objects.append(second)


def _remove(objects: list[Object], name: str) -> None:
    objects.remove(_the(objects, name))


def _write_secret(objects: list[Object]) -> None:
    _worker(objects)["env"][0] = {"name": "DATABASE_URL", "value": "postgresql://me:pw@db/x"}


def _policy(objects: list[Object], name: str) -> Object:
    spec: Object = _the(objects, f"NetworkPolicy {name}")["spec"]
    return spec


PLANTED: dict[str, tuple[Callable[[list[Object]], object], str]] = {
    "a misspelt field": (lambda o: _pod(o).update(terminationGracePeriodSecond=5), "Additional"),
    "a text for a number": (lambda o: _hpa(o).update(minReplicas="2"), "is not of type"),
    "a text for a number in another's kind": (
        lambda o: _get_scaler(o).update(maxReplicaCount="10"),
        "ScaledObject musicgen-worker: .*maxReplicaCount",
    ),
    "a misspelt field in another's kind": (
        lambda o: _get_scaler(o).update(coolDownPeriod=5),
        "coolDownPeriod",
    ),
    "a missing field in another's kind": (
        lambda o: _the(o, "Gateway musicgen")["spec"].pop("gatewayClassName"),
        "gatewayClassName",
    ),
    "a kind that nobody knows": (
        lambda o: o.append({"apiVersion": "x/v1", "kind": "Nothing", "metadata": {"name": "n"}}),
        "unknown kind",
    ),
    "at most less than at least": (lambda o: _hpa(o).update(minReplicas=12), "but at most 10"),
    "two autoscalers": (_second_autoscaler, "2 autoscalers"),
    "an autoscaler of nothing": (
        lambda o: _get_scaler(o)["scaleTargetRef"].update(name="musicgen-werker"),
        "scales a missing Deployment musicgen-werker",
    ),
    "replicas that an autoscaler decides": (
        lambda o: _the(o, "Deployment musicgen-worker")["spec"].update(replicas=1),
        "sets replicas",
    ),
    "a service that selects nothing": (
        lambda o: _the(o, "Service musicgen-api")["spec"]["selector"].update(a="b"),
        "no pod has the labels",
    ),
    "a selector of other pods": (
        lambda o: _pod(o) and _the(o, "Deployment musicgen-worker")["spec"]["selector"].update(
            matchLabels={"app.kubernetes.io/name": "else"}
        ),
        "does not match its own pods",
    ),
    "a probe of another port": (
        lambda o: _worker(o)["readinessProbe"]["httpGet"].update(port="http"),
        "readinessProbe uses a missing port http",
    ),
    "a service to another port": (
        lambda o: _the(o, "Service musicgen-api")["spec"]["ports"][0].update(targetPort=8001),
        "no port 8001",
    ),
    "a route to another port": (
        lambda o: _route(o)["backendRefs"][0].update(port=81),
        "leads to a missing port 81",
    ),
    "a grace shorter than the drain": (
        lambda o: _pod(o).update(terminationGracePeriodSeconds=900),
        "is killed after 900 s",
    ),
    "a drain shorter than a job": (
        lambda o: _settings(o).update(MUSICGEN_DRAIN_SECONDS="60"),
        "drains for 60 s",
    ),
    "a start that may not take long": (
        lambda o: _worker(o)["startupProbe"].update(failureThreshold=6),
        "killed after 30 s of its start",
    ),
    "a rollout that is given up": (
        lambda o: _the(o, "Deployment musicgen-worker")["spec"].update(progressDeadlineSeconds=300),
        "rollout fails",
    ),
    "another number of slots": (
        lambda o: _get_scaler(o)["triggers"][0]["metadata"].update(targetQueryValue="4"),
        "jobs per worker 4, but slots of a worker 8",
    ),
    "root": (lambda o: _pod(o)["securityContext"].update(runAsNonRoot=False), "may run as root"),
    "a token": (lambda o: _pod(o).update(automountServiceAccountToken=True), "an unused token"),
    "no seccomp profile": (lambda o: _pod(o)["securityContext"].pop("seccompProfile"), "seccomp"),
    "the node's network": (lambda o: _pod(o).update(hostNetwork=True), "node's network"),
    "privileges": (
        lambda o: _worker(o)["securityContext"].update(privileged=True), "gain privileges",
    ),
    "a root that can be written": (
        lambda o: _worker(o)["securityContext"].pop("readOnlyRootFilesystem"), "write to its image",
    ),
    "capabilities": (
        lambda o: _worker(o)["securityContext"].pop("capabilities"), "keeps capabilities",
    ),
    "no limits": (lambda o: _worker(o)["resources"].pop("limits"), "has no limits"),
    "half a GPU": (
        lambda o: _worker(o)["resources"]["limits"].pop("nvidia.com/gpu"), "cannot be shared",
    ),
    "a secret written out": (_write_secret, "DATABASE_URL has a literal value"),
    "a secret in a ConfigMap": (
        lambda o: _settings(o).update(MUSICGEN_BUCKET_SECRET_ACCESS_KEY="x"),
        "belongs in a Secret",
    ),
    "no default denial": (
        lambda o: _remove(o, "NetworkPolicy default-deny"), "denies by default",
    ),
    "the cloud's metadata": (
        lambda o: _policy(o, "outwards")["egress"][0]["to"][0]["ipBlock"].pop("except"),
        "cloud's metadata",
    ),
    "a private network": (
        lambda o: _policy(o, "outwards")["egress"][0]["to"][0]["ipBlock"]["except"].remove(
            "10.0.0.0/8"
        ),
        "private address 10.0.0.9",
    ),
    "no names on nodes with a cache": (
        lambda o: _policy(o, "names")["egress"][0]["to"].pop(1), "NodeLocal DNSCache cannot",
    ),
    "no way out": (lambda o: _policy(o, "outwards")["egress"].clear(), "cannot reach public"),
    "an account that is not there": (
        lambda o: _remove(o, "ServiceAccount musicgen-worker"), "ServiceAccount musicgen-worker is",
    ),
    "a claim that is not there": (
        lambda o: _pod(o)["volumes"].append(
            {"name": "gone", "persistentVolumeClaim": {"claimName": "gone"}}
        ),
        "PersistentVolumeClaim gone is missing",
    ),
    "a process without the bucket": (
        lambda o: _the(o, "Deployment musicgen-api")["spec"]["template"]["spec"]["containers"][0][
            "env"
        ].pop(),
        "musicgen-api: lacks MUSICGEN_BUCKET",
    ),
    "a fallback that stops workers": (
        lambda o: _get_scaler(o)["fallback"].pop("behavior"), "its fallback stops workers",
    ),
    "an object that no deployment deletes": (
        lambda o: _the(o, "Deployment musicgen-placeholder")["metadata"].pop("labels"),
        "musicgen-placeholder: lacks the label",
    ),
    "a companion that a taint keeps away": (
        lambda o: _pod(o)["tolerations"].append({"key": "spot", "operator": "Exists"}),
        "DaemonSet musicgen-prepull: lacks a toleration",
    ),
    "a companion on other nodes": (
        lambda o: _pod(o).update(nodeSelector={"a": "b"}), "musicgen-prepull: selects other nodes",
    ),
    "a budget that blocks a drain": (
        lambda o: (
            _the(o, "PodDisruptionBudget musicgen-api")["spec"].update(minAvailable=2),
            _the(o, "PodDisruptionBudget musicgen-api")["spec"].pop("maxUnavailable"),
        ),
        "no node with one of 2 pods can be drained",
    ),
    "an autoscaler's single pod under a budget": (
        lambda o: (
            _hpa(o).update(minReplicas=1),
            _the(o, "PodDisruptionBudget musicgen-api").update(
                spec={
                    "minAvailable": 1,
                    "selector": {"matchLabels": {"app.kubernetes.io/name": "musicgen-api"}},
                }
            ),
        ),
        "no node with one of 1 pod can be drained",
    ),
    "a disk smaller than its volumes": (
        lambda o: _worker(o)["resources"]["limits"].update({"ephemeral-storage": "1Gi"}),
        "less than its volumes",
    ),
    "a volume without a limit": (
        lambda o: _pod(o)["volumes"][1]["emptyDir"].clear(), "no sizeLimit",
    ),
    "no request of disk": (
        lambda o: _worker(o)["resources"]["requests"].pop("ephemeral-storage"), "has no requests",
    ),
    "a rollout shorter than a drain": (
        lambda o: _the(o, "Deployment musicgen-worker")["spec"].update(
            progressDeadlineSeconds=1200
        ),
        "a rollout fails after 1200 s of 1560 s a pod",
    ),
    "variables of all Services": (
        lambda o: _pod(o).pop("enableServiceLinks"), "addresses of all Services",
    ),
    "a part of a GPU, shared": (
        lambda o: _worker(o)["resources"]["limits"].update({"nvidia.com/mig-1g.10gb": "1"}),
        "cannot be shared",
    ),
    "an unknown field of a rule": (
        lambda o: _the(o, "PrometheusRule musicgen")["spec"]["groups"][1]["rules"][0].update(
            fore="1m"
        ),
        "PrometheusRule musicgen",
    ),
    "a redirect to nowhere": (
        lambda o: _the(o, "HTTPRoute musicgen-redirect")["spec"]["rules"][0]["filters"][0][
            "requestRedirect"
        ].update(scheme="ftp"),
        "HTTPRoute musicgen-redirect",
    ),
    "an image without a version": (
        lambda o: _worker(o).update(image="musicgen-worker:latest"), "has no version",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def production(overlay_objects: dict[str, list[Object]]) -> list[Object]:
    """Without a mistake. Tests plant theirs in copies."""
    objects = overlay_objects["production"]
    assert overlays.problems_of(objects) == []
    return objects


@pytest.mark.parametrize(("plant", "said"), PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_found(
    production: list[Object], plant: Callable[[list[Object]], object], said: str
) -> None:
    objects = copy.deepcopy(production)
    plant(objects)
    assert [each for each in overlays.problems_of(objects) if re.search(said, each)]


def test_a_patch_of_nothing_is_refused(tmp_path: Path) -> None:
    patch = "- {op: replace, path: /spec/nothing/here, value: 1}"
    target = "{kind: Deployment, name: musicgen-worker}"
    (tmp_path / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"
        f"resources: [one.yaml]\npatches:\n  - target: {target}\n    patch: |\n      {patch}\n"
    )
    one = (overlays.FOLDER / "base/worker.yaml").read_text()
    (tmp_path / "one.yaml").write_text(one)
    with pytest.raises(ValueError, match="nothing"):
        overlays.render(tmp_path)


def test_every_variable_is_one_that_is_read(overlay_objects: dict[str, list[Object]]) -> None:
    """A misspelt setting would silently keep its default."""
    known = list_variables()
    for objects in overlay_objects.values():
        assert set(find_settings(objects)) <= known
        for each in objects:
            names: set[str] = set()
            pods = each.get("spec", {}).get("template", {}).get("spec", {})
            for container in pods.get("containers", []):
                names |= {variable["name"] for variable in container.get("env", [])}
            assert names <= known, names - known


@pytest.mark.parametrize("overlay", ["production", "spot"])
def test_a_certificate_authority_reaches_the_solver(
    overlay_objects: dict[str, list[Object]], overlay: str
) -> None:
    """HTTP-01 asks port 80. Without a listener there the gateway never got its certificate."""
    objects = overlay_objects[overlay]
    listeners = {
        each["port"]: each for each in _the(objects, "Gateway musicgen")["spec"]["listeners"]
    }
    assert set(listeners) == {80, 443}
    plain = listeners[80]
    assert plain["protocol"] == "HTTP"
    assert plain["hostname"] == listeners[443]["hostname"]
    # cert-manager's own route is attached to this listener by name.
    page = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    assert f"namespace: musicgen, sectionName: {plain['name']}}}" in page
    redirect = _the(objects, "HTTPRoute musicgen-redirect")["spec"]
    assert redirect["parentRefs"] == [{"name": "musicgen", "sectionName": plain["name"]}]
