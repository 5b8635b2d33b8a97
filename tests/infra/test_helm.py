"""The Helm chart renders the objects of infra/k8s, and its values do what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.check import overlays
from infra.check.tools import find_tool, run
from infra.helm.chart import CHART, COMPONENTS, build_files
from tests.support import ROOT

pytestmark = [
    pytest.mark.skipif(find_tool("kubectl") is None, reason="needs kubectl: `make check-infra`"),
]
needs_helm = pytest.mark.skipif(find_tool("helm") is None, reason="needs helm: `make check-infra`")
Objects = dict[tuple[str, str], dict[str, Any]]
CHECKSUM = "checksum/settings"


def _template(*arguments: str) -> tuple[int, str]:
    return run("helm", "template", "musicgen", str(CHART), "--namespace", "musicgen", *arguments)


def _render(*arguments: str) -> Objects:
    status, output = _template(*arguments)
    assert status == 0, output
    return _index([item for item in yaml.safe_load_all(output) if item])


def _index(items: list[dict[str, Any]]) -> Objects:
    """Return objects by kind and name, without the differences that infra/helm/chart.py names."""
    text = yaml.safe_dump(items)
    for item in items:
        if item["kind"] == "ConfigMap" and "MUSICGEN_SLOTS" in item["data"]:
            text = text.replace(f"name: {item['metadata']['name']}\n", "name: musicgen\n")
    objects = {}
    for item in yaml.safe_load(text):
        pod = item.get("spec", {}).get("template", {}).get("metadata", {})
        if isinstance(pod, dict):
            pod.get("annotations", {}).pop(CHECKSUM, None)
        objects[item["kind"], item["metadata"]["name"]] = item
    return objects


@pytest.fixture(scope="module")
def base() -> Objects:
    return _index(overlays.render(overlays.FOLDER / "base"))


def test_the_chart_is_current() -> None:
    """`python -m infra.helm` writes it after a change of infra/k8s."""
    files = build_files()
    present = {str(p.relative_to(CHART)): p.read_text() for p in CHART.rglob("*") if p.is_file()}
    present.pop("README.md")
    assert present == files


@needs_helm
def test_the_defaults_are_the_base(base: Objects) -> None:
    """Two descriptions of one cluster must not drift apart."""
    namespace = ("Namespace", "musicgen")
    assert _render("--set", "namespace.create=true") == base
    assert _render() == {name: item for name, item in base.items() if name != namespace}


@needs_helm
@pytest.mark.parametrize("component", [*COMPONENTS, "bucket"])
def test_a_component_is_that_of_kustomize(
    base: Objects, component: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A component of the chart adds the objects of its namesake, and no others."""
    folder = overlays.FOLDER / f"overlays/.with-chart-{component}"
    folder.mkdir(exist_ok=True)
    resources = {"resources": ["../../base"], "components": [f"../../components/{component}"]}
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump({"namespace": "musicgen"} | resources)
    )
    try:
        theirs = _index(overlays.render(folder))
    finally:
        (folder / "kustomization.yaml").unlink()
        folder.rmdir()
    name = "bucket" if component == "bucket" else f"components.{component}"
    values = ["namespace.create=true", f"{name}.enabled=true", "host=music.example.com"]
    if component in ("gateway", "ingress"):
        values.append(f"{name}.class={component.upper()}_CLASS")
    ours = _render(*(part for value in values for part in ("--set", value)))
    assert ours.keys() == theirs.keys()
    for key, item in theirs.items():
        assert ours[key] == item, key


@needs_helm
def test_values_reach_the_objects() -> None:
    """A value without an effect is worse than none."""
    digest = "sha256:" + 64 * "a"
    values = {
        "images": {"worker": {"repository": "registry.example.org/worker", "digest": digest}},
        "imagePullSecrets": [{"name": "registry"}],
        "settings": {"MUSICGEN_SLOTS": "4", "MUSICGEN_MODEL": "small"},
        "worker": {"maxReplicas": 3, "cooldownSeconds": 60, "nodeSelector": {"gpu": "l4"}},
        "database": {"secret": "other", "port": 6432},
    }
    path = ROOT / "infra/helm/.values-of-a-test.json"
    path.write_text(json.dumps(values))
    try:
        objects = _render("--values", str(path))
    finally:
        path.unlink()
    pod = objects["Deployment", "musicgen-worker"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["image"] == f"registry.example.org/worker@{digest}"
    assert pod["nodeSelector"] == {"gpu": "l4"}
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    url = next(v for v in container["env"] if v["name"] == "DATABASE_URL")
    assert url["valueFrom"]["secretKeyRef"]["name"] == "other"
    scaled = objects["ScaledObject", "musicgen-worker"]["spec"]
    assert (scaled["maxReplicaCount"], scaled["cooldownPeriod"]) == (3, 60)
    assert scaled["triggers"][0]["metadata"]["targetQueryValue"] == "4"
    trigger = objects["TriggerAuthentication", "musicgen-database"]["spec"]
    assert trigger["secretTargetRef"][0]["name"] == "other"
    assert objects["ConfigMap", "musicgen"]["data"]["MUSICGEN_MODEL"] == "small"
    policy = objects["NetworkPolicy", "database"]["spec"]
    assert policy["egress"][0]["ports"][0]["port"] == 6432


@needs_helm
def test_changed_settings_replace_the_pods() -> None:
    """Without a hash in its name, a changed ConfigMap alone would reach no running pod."""

    def read_checksum(*arguments: str) -> str:
        items = list(yaml.safe_load_all(_template(*arguments)[1]))
        worker = next(i for i in items if i and i["metadata"]["name"] == "musicgen-worker"
                      and i["kind"] == "Deployment")  # fmt: skip
        checksum: str = worker["spec"]["template"]["metadata"]["annotations"][CHECKSUM]
        return checksum

    assert read_checksum() != read_checksum("--set-string", "settings.MUSICGEN_QUEUE_MAX=7")


@needs_helm
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("worker.maxReplica=3", "maxReplica"),
        ("worker.maxReplicas=three", "maxReplicas"),
        ("worker.maxReplicas=0", "maxReplicas"),
        ("settings.MUSICGEN_SLOTS=8", "MUSICGEN_SLOTS"),
        ("settings.SLOTS=x", "SLOTS"),
        ("images.api.digest=sha256:12", "digest"),
        ("host=https://music.example.org", "host"),
        ("components.gateway.enabled=true", "components.gateway.class is needed"),
    ],
)
def test_wrong_values_are_refused(value: str, message: str) -> None:
    """A misspelt value must not be silently without effect."""
    status, output = _template("--set", value)
    assert status != 0
    assert message in output
