"""Deployment of an overlay to a cluster: the checks, the changes, the rollback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.check.tools import find_tool
from infra.deploy.__main__ import main
from tests.support.kubectl_program import Cluster, node, secret
from tests.support.overlay import API, WORKER, change_overlay, set_digest

pytestmark = pytest.mark.skipif(
    find_tool("kubectl") is None, reason="needs kubectl: `make check-infra`"
)
COMMAND = ["kubernetes", "--overlay", "mine"]


def test_an_overlay_is_brought_and_the_same_again_rolls_nothing(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(COMMAND) == 0
    assert "kubectl kustomize" in capsys.readouterr().out
    revisions = {name: each[-1]["number"] for name, each in cluster.read()["deployments"].items()}
    assert revisions[API] == revisions[WORKER] == 1
    assert main(COMMAND) == 0
    again = {name: each[-1]["number"] for name, each in cluster.read()["deployments"].items()}
    assert again == revisions


def test_a_dry_run_shows_what_differs_and_changes_nothing(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*COMMAND, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "+ something" in out and "would run: " in out and "rollout status" in out
    assert cluster.read()["changes"] == []


def test_a_release_goes_back_with_its_images(cluster: Cluster, overlay: Path) -> None:
    main(COMMAND)
    first = cluster.image(WORKER)
    set_digest(overlay, "2")
    main(COMMAND)
    second = cluster.image(WORKER)
    assert first != second
    assert main([*COMMAND, "--rollback"]) == 0
    assert (cluster.image(WORKER), cluster.image(API)) == (first, first.replace(WORKER, API))
    assert main([*COMMAND, "--rollback"]) == 0
    assert cluster.image(WORKER) == second


def test_a_changed_setting_is_a_release_that_goes_back(cluster: Cluster, overlay: Path) -> None:
    """A new name of the ConfigMap makes the change a new revision."""
    main(COMMAND)

    def settings() -> str:
        (container,) = cluster.read()["deployments"][API][-1]["template"]["spec"]["containers"]
        return str(container["envFrom"][0]["configMapRef"]["name"])

    first = settings()
    merged = {"name": "musicgen", "behavior": "merge", "literals": ["MUSICGEN_QUEUE_MAX=5"]}
    change_overlay(overlay, configMapGenerator=[merged])
    main(COMMAND)
    assert settings() != first
    main([*COMMAND, "--rollback"])
    assert settings() == first


def _without(name: str) -> Callable[[Cluster], None]:
    def change(cluster: Cluster) -> None:
        secrets = cluster.read()["secrets"]
        del secrets[name]
        cluster.change(secrets=secrets)

    return change


def _no_keda(cluster: Cluster) -> None:
    versions = [each for each in cluster.read()["versions"] if "keda" not in each]
    cluster.change(versions=versions)


MISSING = {
    "a cluster": (lambda c: c.change(is_there=False), "cluster: The connection"),
    "a right": (lambda c: c.change(may=False), "may patch deployments: no"),
    "KEDA": (_no_keda, "does not serve keda.sh/v1alpha1"),
    "a secret": (_without("musicgen-database"), "Secret musicgen-database: create it with url"),
    "a key of a secret": (
        lambda c: c.change(secrets=c.read()["secrets"] | {"musicgen-database": {}}),
        "with url",
    ),
    "a GPU": (lambda c: c.change(nodes=[node("580.1", gpus=0)]), "no node has nvidia.com/gpu"),
    "a driver": (lambda c: c.change(nodes=[node("550.1")]), "node1: driver 550.1 is too old"),
    "a bucket": (
        lambda c: c.change(
            secrets=c.read()["secrets"]
            | {
                "musicgen-bucket": secret(
                    name="music",
                    endpoint_url="http://127.0.0.1:9",
                    access_key_id="id",
                    secret_access_key="secret",
                )
            }
        ),
        "could not be reached",
    ),
}


@pytest.mark.parametrize(("take", "said"), MISSING.values(), ids=MISSING)
def test_what_is_missing_is_said_and_nothing_is_changed(
    cluster: Cluster,
    take: Callable[[Cluster], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    take(cluster)
    assert main(COMMAND) == 2
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("NO") and said in line], out
    assert cluster.read()["changes"] == []


def test_nodes_may_be_made_when_they_are_needed(cluster: Cluster) -> None:
    cluster.change(nodes=[])
    assert main([*COMMAND, "--gpus-come", "--dry-run"]) == 0


def test_an_overlay_as_it_comes_is_not_filled_in(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kubernetes", "--overlay", "spot", "--dry-run"]) == 2
    assert "NO  overlay is filled in: replace" in capsys.readouterr().out


def test_an_overlay_that_is_not_there_is_said(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["kubernetes", "--overlay", "none"]) == 2
    assert "NO  overlay: " in (out := capsys.readouterr().out) and "there are local, mine, " in out
    assert main(["kubernetes", "--overlay", "cluster"]) == 2
    assert "make cluster" in capsys.readouterr().out
