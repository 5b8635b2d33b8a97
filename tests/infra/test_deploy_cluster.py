"""Deployment to a cluster with a past, or with other networks, nodes and registries."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.check import overlays
from infra.check.tools import find_tool
from infra.deploy import history
from infra.deploy.__main__ import main
from infra.deploy.rollout import measure_rollout
from tests.support import ROOT
from tests.support.kubectl_program import Cluster, node, secret
from tests.support.overlay import (
    WORKER,
    add_patches,
    change_overlay,
    read_overlay,
    set_digest,
)

pytestmark = pytest.mark.skipif(
    find_tool("kubectl") is None, reason="needs kubectl: `make check-infra`"
)
COMMAND = ["kubernetes", "--overlay", "mine"]
PREPULL = "daemonset/musicgen-prepull"


def _list_objects(cluster: Cluster) -> set[str]:
    return {f"{o['kind']} {o['metadata']['name']}" for o in cluster.read()["objects"]}


def _image_of(cluster: Cluster, name: str) -> str:
    template = cluster.read()["deployments"][name][-1]["template"]
    return str(template["spec"]["containers"][0]["image"])


def _without(overlay: Path, component: str) -> None:
    components = [c for c in read_overlay(overlay)["components"] if not c.endswith(component)]
    change_overlay(overlay, components=components)


def test_what_an_overlay_no_longer_has_is_deleted(
    cluster: Cluster, overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A placeholder without its overlay held a GPU for ever."""
    main(COMMAND)
    assert "Deployment musicgen-placeholder" in _list_objects(cluster)
    _without(overlay, "/placeholder")
    main([*COMMAND, "--dry-run"])
    assert "delete --ignore-not-found deployment.apps/musicgen-placeholder" in (
        capsys.readouterr().out
    )
    assert "Deployment musicgen-placeholder" in _list_objects(cluster)
    assert main(COMMAND) == 0
    assert "Deployment musicgen-placeholder" not in _list_objects(cluster)
    changes = cluster.read()["changes"]
    assert changes[-1] == "delete deployment.apps/musicgen-placeholder"
    assert main(COMMAND) == 0
    assert cluster.read()["changes"][-1] == "apply"


def test_objects_of_others_and_data_are_not_deleted(cluster: Cluster, overlay: Path) -> None:
    """KEDA's own autoscaler has the labels of the ScaledObject, and an owner."""
    labels = {"app.kubernetes.io/part-of": "musicgen"}
    owned = {"name": "keda-hpa-musicgen-worker", "labels": labels, "ownerReferences": [{}]}
    others: list[dict[str, Any]] = [
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": owned},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop"}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
         "metadata": {"name": "musicgen-old", "labels": labels}},
        {"apiVersion": "v1", "kind": "ConfigMap",
         "metadata": {"name": "musicgen-1234", "labels": labels}},
    ]  # fmt: skip
    cluster.change(objects=others)
    main(COMMAND)
    assert {f"{o['kind']} {o['metadata']['name']}" for o in others} <= _list_objects(cluster)


def test_a_rollback_covers_the_daemonset(cluster: Cluster, overlay: Path) -> None:
    """The nodes kept the newer image only, so an old worker's start waited for its image."""
    main(COMMAND)
    first = _image_of(cluster, PREPULL)
    set_digest(overlay, "2")
    main(COMMAND)
    assert _image_of(cluster, PREPULL) != first
    assert main([*COMMAND, "--rollback"]) == 0
    assert _image_of(cluster, PREPULL) == _image_of(cluster, WORKER) == first


def test_a_release_with_a_deleted_workload_changes_nothing(
    cluster: Cluster, overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(COMMAND)
    release = history.read_changes("kubernetes/test")[-1].after
    assert release is not None and "musicgen-placeholder=1" in release
    _without(overlay, "/placeholder")
    set_digest(overlay, "2")
    main(COMMAND)
    before = cluster.read()["changes"]
    assert main([*COMMAND, "--to", release]) == 1
    assert "musicgen-placeholder: not in the cluster" in capsys.readouterr().err
    assert cluster.read()["changes"] == before


def test_a_rollout_may_take_as_long_as_its_drains(overlay: Path) -> None:
    """Eight workers that end their jobs one after the other were called a failure."""
    objects = overlays.render(overlay)
    drain_and_start = 960 + 600
    assert measure_rollout(objects, WORKER) >= 4 * drain_and_start
    add_patches(
        overlay,
        {
            "target": {"kind": "Deployment", "name": WORKER},
            "patch": "- {op: replace, path: /spec/strategy/rollingUpdate/maxUnavailable, value: 1}",
        },
    )
    assert measure_rollout(overlays.render(overlay), WORKER) >= 8 * drain_and_start


def test_the_history_is_written_after_sigterm(cluster: Cluster, overlay: Path) -> None:
    """A cancelled job of CI left a change without a line, so --rollback went elsewhere."""
    cluster.change(hangs=True)
    code = (
        "import runpy, sys\nfrom pathlib import Path\n"
        "from infra.deploy import kubernetes, shell\n"
        f"kubernetes.FOLDER = Path({str(overlay.parent)!r})\n"
        f"shell.find_tool = lambda name: {str(cluster.path)!r}\n"
        f"sys.argv = ['infra.deploy', *{COMMAND!r}]\n"
        "runpy.run_module('infra.deploy', run_name='__main__')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "rollout status" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(10) == 128 + signal.SIGTERM
    (change,) = history.read_changes("kubernetes/test")
    assert change.before is None
    assert f"{WORKER}=1" in (change.after or "")


def _set_secret(cluster: Cluster, name: str, /, **data: str) -> None:
    cluster.change(secrets=cluster.read()["secrets"] | {name: secret(**data)})


def _use_database(url: str) -> Callable[[Cluster, Path], None]:
    return lambda cluster, overlay: _set_secret(cluster, "musicgen-database", url=url)


def _use_bucket(url: str) -> Callable[[Cluster, Path], None]:
    return lambda cluster, overlay: _set_secret(
        cluster, "musicgen-bucket", name="music", region="x", endpoint_url=url
    )


def _open_port(cluster: Cluster, overlay: Path) -> None:
    _use_database("postgresql://u@db.mine.org:6432/m")(cluster, overlay)
    add_patches(
        overlay,
        {
            "target": {"kind": "NetworkPolicy", "name": "database"},
            "patch": "- {op: replace, path: /spec/egress/0/ports/0/port, value: 6432}",
        },
    )


def _patch_worker(path: str, value: Any) -> Callable[[Cluster, Path], None]:
    operation = json.dumps([{"op": "add", "path": path, "value": value}])
    target = {"kind": "Deployment", "name": WORKER}
    return lambda cluster, overlay: add_patches(overlay, {"target": target, "patch": operation})


def _add(component: str) -> Callable[[Cluster, Path], None]:
    def change(cluster: Cluster, overlay: Path) -> None:
        components = [*read_overlay(overlay)["components"], f"../../components/{component}"]
        change_overlay(overlay, components=components)

    return change


GPU_PATH = "/spec/template/spec/containers/0/resources/{}/nvidia.com~1mig-1g.10gb"


def _use_mig(cluster: Cluster, overlay: Path) -> None:
    for kind in ("requests", "limits"):
        _patch_worker(GPU_PATH.format(kind), "1")(cluster, overlay)


FINDINGS: dict[str, tuple[Callable[[Cluster, Path], None], str]] = {
    "a pooler's port": (
        _use_database("postgresql://u:p@db.mine.org:6432/m"),
        "NO  way to the database: port 6432 is closed for musicgen-api: set it in the "
        "NetworkPolicy database",
    ),
    "a second host's port": (
        _use_database("postgresql://u@a.org:5432,10.0.0.2:25060/m"), "port 25060 is closed",
    ),
    "no address of a database": (
        _use_database("postgres-db.mine.org"), "NO  way to the database: Secret musicgen-database",
    ),
    "the port, opened": (_open_port, "ok  way to the database"),
    "a private bucket": (
        _use_bucket("http://10.1.2.3:9000"),
        "NO  way to the bucket: 10.1.2.3, port 9000, is closed for musicgen-api: add the component",
    ),
    "a bucket at another port": (_use_bucket("https://s3.mine.org:8443"), "port 8443, is closed"),
    "a public bucket": (_use_bucket("https://s3.eu.mine.org"), "ok  way to the bucket"),
    "a private registry": (
        _patch_worker("/spec/template/spec/imagePullSecrets", [{"name": "registry"}]),
        "NO  Secret registry: create it with .dockerconfigjson",
    ),
    "a part of a GPU": (_use_mig, "NO  GPUs: no node has nvidia.com/mig-1g.10gb"),
    "an autoscaler's missing metric": (
        _add("request-scaling"), "does not serve custom.metrics.k8s.io/v1beta1",
    ),
    "no metrics-server": (
        lambda c, o: c.change(versions=[v for v in c.read()["versions"] if "metrics" not in v]),
        "does not serve metrics.k8s.io/v1beta1",
    ),
    "a relay after the bucket": (
        _add("relay"), "NO  manifests: Deployment musicgen-relay: lacks MUSICGEN_BUCKET",
    ),
    "no way in": (
        lambda c, o: c.change(namespace_labels={"musicgen.io/monitoring": "true"}),
        "NO  namespace of callers: no namespace has the label musicgen.io/gateway=true",
    ),
    "no way for Prometheus": (
        lambda c, o: c.change(namespace_labels={"musicgen.io/gateway": "true"}),
        "NO  namespace of Prometheus: no namespace has the label musicgen.io/monitoring=true",
    ),
    "no issuer": (
        lambda c, o: c.change(issuers=[]), "NO  ClusterIssuer letsencrypt: create it",
    ),
    "no cert-manager": (
        lambda c, o: c.change(versions=[v for v in c.read()["versions"] if "cert" not in v]),
        "does not serve cert-manager.io/v1",
    ),
    "an object that the cluster refuses": (
        lambda c, o: c.change(refusal="admission webhook denied the request: quota"),
        "NO  objects are admitted: admission webhook denied the request: quota",
    ),
    "no namespace yet": (
        lambda c, o: c.change(namespace=False, refusal="namespaces musicgen not found"),
        "ok  objects are admitted: not checked: there is no namespace musicgen yet",
    ),
    "no network of a load balancer": (
        _add("load-balancer"), "NO  overlay is filled in: replace 192.0.2.0/24",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), FINDINGS.values(), ids=FINDINGS)
def test_a_check_before_the_deployment(
    cluster: Cluster,
    overlay: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Cluster, Path], None],
    said: str,
) -> None:
    change(cluster, overlay)
    main([*COMMAND, "--dry-run"])
    assert said in capsys.readouterr().out


def test_the_names_of_spot_machines_are_placeholders(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """The overlay had names of no cloud, so no worker ever found a node."""
    assert main(["kubernetes", "--overlay", "spot", "--dry-run"]) == 2
    out = capsys.readouterr().out
    assert all(word in out for word in ("SPOT_LABEL", "SPOT_TAINT", "SPOT_VALUE"))


def test_a_node_with_parts_of_a_gpu_is_found(cluster: Cluster, overlay: Path) -> None:
    _use_mig(cluster, overlay)
    gpu = node("580.65.06")
    gpu["status"]["allocatable"]["nvidia.com/mig-1g.10gb"] = "2"
    cluster.change(nodes=[gpu])
    assert main([*COMMAND, "--dry-run"]) == 0
