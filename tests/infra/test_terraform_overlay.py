"""The outputs of infra/terraform become an overlay that a deployment accepts."""

from __future__ import annotations

import copy
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.check import overlays
from infra.check.tools import find_tool
from infra.deploy.cluster import check_placeholders
from infra.terraform import overlay
from tests.support import ROOT

EXAMPLES = ROOT / "tests/data/terraform"
DIGESTS = ("--api-digest", "sha256:" + 64 * "a", "--worker-digest", "sha256:" + 64 * "b")
needs_kubectl = pytest.mark.skipif(find_tool("kubectl") is None, reason="needs kubectl")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of infra/k8s/overlays, beside its base and components."""
    for name in ("infra/k8s", "infra/monitoring"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".with-*"))
    folder = tmp_path / "infra/k8s/overlays"
    monkeypatch.setattr(overlay, "FOLDER", folder)
    monkeypatch.setattr(overlay, "ROOT", tmp_path)
    return folder


def _write(monkeypatch: pytest.MonkeyPatch, cloud: str, *arguments: str) -> None:
    text = (EXAMPLES / f"{cloud}.json").read_text(encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert overlay.main([*DIGESTS, *arguments]) == 0


@needs_kubectl
@pytest.mark.parametrize("cloud", ["aws", "google"])
def test_the_overlay_is_complete(tree: Path, monkeypatch: pytest.MonkeyPatch, cloud: str) -> None:
    """A forgotten placeholder or patch would show only at the first deployment."""
    _write(monkeypatch, cloud)
    objects = overlays.render(tree / "cluster")
    assert overlays.problems_of(objects) == []
    assert check_placeholders(objects).is_met
    facts = json.loads((EXAMPLES / f"{cloud}.json").read_text())["overlay"]["value"]
    found = {(o["kind"], o["metadata"]["name"]): o for o in objects}
    gateway = found["Gateway", "musicgen"]["spec"]
    assert gateway["gatewayClassName"] == "envoy"
    assert {each["hostname"] for each in gateway["listeners"]} == {facts["host"]}
    scaling = found["ScaledObject", "musicgen-worker"]["spec"]
    assert (scaling["minReplicaCount"], scaling["maxReplicaCount"]) == (0, facts["gpu_nodes_max"])
    pod = found["Deployment", "musicgen-worker"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == f"{facts['images']['worker']}@{DIGESTS[3]}"
    spot = facts["spot"]
    assert pod.get("nodeSelector") == (spot and {spot["label"]: spot["value"]})
    # Nothing keeps a GPU node without a job.
    assert ("Deployment", "musicgen-placeholder") not in found
    assert (("NetworkPolicy", "identity-eks") in found) == (cloud == "aws")


def test_an_overlay_written_again_keeps_its_images(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of the cluster took the digests away, and the next deployment was refused."""
    _write(monkeypatch, "aws")
    text = (EXAMPLES / "aws.json").read_text(encoding="utf-8")
    for arguments in ([], ["--api-digest", "sha256:" + 64 * "c"]):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert overlay.main(arguments) == 0
        found = overlay.read_digests(tree / "cluster")
        api = arguments[1] if arguments else DIGESTS[1]
        assert found == {"musicgen-api": api, "musicgen-worker": DIGESTS[3]}
    (tree / "cluster/kustomization.yaml").write_text("images: [", encoding="utf-8")
    assert overlay.read_digests(tree / "cluster") == {}
    assert [each.name for each in (tree / "cluster").iterdir()] == ["kustomization.yaml"]


@needs_kubectl
def test_without_digests_a_deployment_refuses(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overlay without images must not reach a cluster."""
    monkeypatch.setattr("sys.stdin", io.StringIO((EXAMPLES / "aws.json").read_text()))
    assert overlay.main([]) == 0
    assert not check_placeholders(overlays.render(tree / "cluster")).is_met


def _example() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EXAMPLES / "aws.json").read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("host", "https://music.example.org/", "host"),
        ("host", "a.b\n- {op: remove}", "host"),
        ("gateway_class", None, "gateway_class"),
        ("components", ["../../secrets"], "components"),
        ("components", ["nothing-here"], "there is no component nothing-here"),
        ("images", {"api": "x/y"}, "images.worker"),
        ("gpu_nodes_max", 0, "1 to 100"),
        ("gpu_nodes_max", True, "1 to 100"),
    ],
)
def test_bad_outputs_are_refused(field: str, value: object, message: str) -> None:
    """Outputs end up in YAML; a wrong one must not become a wrong overlay."""
    content = copy.deepcopy(_example())
    content["overlay"]["value"][field] = value
    with pytest.raises(overlay.BadOutputs, match=message):
        overlay.read_facts(json.dumps(content))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"overlay": {"value": {}}}', "null"])
def test_other_texts_are_refused(text: str) -> None:
    """Nothing was applied yet, or the text is of another program."""
    with pytest.raises(overlay.BadOutputs, match=re.compile("overlay")):
        overlay.read_facts(text)


@pytest.mark.parametrize("cloud", ["aws", "google"])
def test_the_examples_are_those_of_the_modules(cloud: str) -> None:
    """An output with a new field needs a new example."""
    hcl2 = pytest.importorskip("hcl2")
    text = (ROOT / f"infra/terraform/{cloud}/outputs.tf").read_text(encoding="utf-8")
    outputs = {k.strip('"'): v for item in hcl2.loads(text)["output"] for k, v in item.items()}
    example = json.loads((EXAMPLES / f"{cloud}.json").read_text(encoding="utf-8"))
    assert outputs["overlay"]["value"].keys() == example["overlay"]["value"].keys()
    assert set(outputs["overlay"]["value"]) == set(overlay._FIELDS)
    assert example.keys() <= outputs.keys()


def _make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `make cluster` with this Python and without its installation."""
    options = ("-o", ".venv/infra-installed", f"BIN={Path(sys.executable).parent}")
    command = ("make", "cluster", *options, f"OVERLAY={folder.name}", *arguments)
    given = {f"TF_VAR_{name}": "x" for name in ("host", "email", "callers")}
    env = {**os.environ, **given, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=env)


def test_one_command_ends_with_the_overlay(tmp_path: Path) -> None:
    """`make cluster` calls init, apply and output in this order, and writes the overlay."""
    calls = tmp_path / "calls"
    program = tmp_path / "tofu"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {calls}\n'
        f'case "$2" in output) cat {EXAMPLES / "aws.json"} ;; esac\n'
    )
    program.chmod(0o755)
    folder = ROOT / "infra/k8s/overlays/cluster-of-a-test"
    try:
        done = _make(folder, f"TOFU={program}", "CLOUD=aws")
        assert done.returncode == 0, done.stderr
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert "123456789012.dkr.ecr" in text
    verbs = [line.split()[1] for line in calls.read_text().splitlines()]
    assert verbs == ["init", "apply", "output"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CLOUD="], "CLOUD"),
        (["CLOUD=azure"], "CLOUD"),
        (["CLOUD=aws", "TOFU=no-tofu"], "OpenTofu"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, arguments: list[str], message: str) -> None:
    """A newcomer learns before any change what to install or write."""
    done = _make(tmp_path / "unused", *arguments)
    assert done.returncode != 0
    assert message in done.stdout
