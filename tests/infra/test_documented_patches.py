"""The patches of docs/kubernetes.md do in an overlay what the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.check import overlays
from infra.check.objects import get_pod, list_containers
from infra.check.reachability import End, find_pod, may_connect
from infra.check.tools import find_tool
from infra.deploy.cluster import check_placeholders
from tests.support import ROOT
from tests.support.overlay import add_patches, change_overlay, copy_overlay, read_overlay

pytestmark = pytest.mark.skipif(
    find_tool("kubectl") is None, reason="needs kubectl: `make check-infra`"
)
Objects = list[dict[str, Any]]
PAGE = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(- target.*?)```", PAGE, re.S)]
SPOT = re.findall(r"^\| [A-Z].* \| `(\S+/\S+)` \| `(\S+)`: `(\S+)` \|$", PAGE, re.M)


def _pods(objects: Objects, *names: str) -> list[dict[str, Any]]:
    items = (o for o in objects if o["metadata"]["name"] in names)
    return [dict(get_pod(o)["spec"]) for o in items if o["kind"] in ("Deployment", "DaemonSet")]


def _has_port(objects: Objects) -> bool:
    worker = find_pod(objects, "musicgen-worker")
    return may_connect(objects, worker, End("10.0.0.9"), 6432)


def _has_balancer(objects: Objects) -> bool:
    api = find_pod(objects, "musicgen-api")
    reached = [may_connect(objects, End(a), api, 8000) for a in ("35.191.1.1", "130.211.1.1")]
    return all(reached) and not may_connect(objects, End("192.0.2.1"), api, 8000)


def _has_bucket(objects: Objects) -> bool:
    worker = find_pod(objects, "musicgen-worker")
    return may_connect(objects, worker, End("10.20.0.7"), 9000)


def _has_registry(objects: Objects) -> bool:
    accounts = {o["metadata"]["name"]: o for o in objects if o["kind"] == "ServiceAccount"}
    names = ("musicgen-api", "musicgen-worker", "musicgen-prepull", "musicgen-placeholder")
    used = {pod["serviceAccountName"] for pod in _pods(objects, *names)}
    return all(accounts[name].get("imagePullSecrets") == [{"name": "registry"}] for name in used)


def _has_runtime(objects: Objects) -> bool:
    return [p.get("runtimeClassName") for p in _pods(objects, "musicgen-worker")] == ["nvidia"]


def _has_gpu_type(objects: Objects) -> bool:
    pods = _pods(objects, "musicgen-worker", "musicgen-prepull", "musicgen-placeholder")
    return len(pods) == 3 and all(
        pod.get("nodeSelector") == {"nvidia.com/gpu.product": "NVIDIA-L4"} for pod in pods
    )


def _has_mig(objects: Objects) -> bool:
    workloads = [o for o in objects if o["kind"] == "Deployment"]
    limits = [c["resources"]["limits"] for o in workloads for c in list_containers(o)]
    parts = [each for each in limits if "nvidia.com/mig-1g.10gb" in each]
    return len(parts) == 2 and not any("nvidia.com/gpu" in each for each in limits)


def _has_label(objects: Objects) -> bool:
    kinds = {o["kind"] for o in objects if "release" in o["metadata"]["labels"]}
    return kinds == {"PodMonitor", "PrometheusRule"}


EFFECTS: list[tuple[str | None, Callable[[Objects], bool]]] = [
    (None, _has_port),
    ("load-balancer", _has_balancer),
    ("bucket-endpoint", _has_bucket),
    (None, _has_registry),
    (None, _has_runtime),
    (None, _has_gpu_type),
    (None, _has_mig),
    (None, _has_label),
]


def test_every_patch_of_the_page_is_tested() -> None:
    assert len(BLOCKS) == len(EFFECTS)


@pytest.mark.parametrize("number", range(len(EFFECTS)))
def test_a_patch_has_its_effect(tmp_path: Path, number: int) -> None:
    component, has_effect = EFFECTS[number]
    folder = copy_overlay(tmp_path)
    if component is not None:
        components = [*read_overlay(folder)["components"], f"../../components/{component}"]
        change_overlay(folder, components=components)
    assert not has_effect(overlays.render(folder))
    add_patches(folder, *BLOCKS[number])
    objects = overlays.render(folder)
    assert has_effect(objects)
    assert overlays.problems_of(objects) == []
    assert check_placeholders(objects).is_met


@pytest.mark.parametrize("names", SPOT, ids=[row[0] for row in SPOT])
def test_the_names_of_a_cloud_fill_the_spot_overlay(
    tmp_path: Path, names: tuple[str, str, str]
) -> None:
    """Workers and their image must be on spot machines, also of the second kind of object."""
    copy_overlay(tmp_path)
    file = tmp_path / "infra/k8s/overlays/spot/kustomization.yaml"
    text = file.read_text(encoding="utf-8")
    for word, name in zip(("SPOT_TAINT", "SPOT_LABEL", "SPOT_VALUE"), names, strict=True):
        text = text.replace(word, name)
    file.write_text(text, encoding="utf-8")
    objects = overlays.render(file.parent)
    assert overlays.problems_of(objects) == []
    pods = _pods(objects, "musicgen-worker", "musicgen-prepull")
    assert len(pods) == 2
    for pod in pods:
        assert pod["nodeSelector"] == {names[1]: names[2].strip('"')}
        assert names[0] in [toleration["key"] for toleration in pod["tolerations"]]


def test_every_cloud_of_the_table_is_tested() -> None:
    assert len(SPOT) == 4
