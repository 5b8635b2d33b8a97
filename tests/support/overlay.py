"""A filled-in copy of infra/k8s in a folder, and a `kubectl` with a cluster for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from infra.check.overlays import render
from tests.support import ROOT
from tests.support.kubectl_program import Cluster, node, secret

API, WORKER = "musicgen-api", "musicgen-worker"


def copy_overlay(folder: Path) -> Path:
    """Copy infra/k8s, and return the folder of an overlay `mine` without placeholders."""
    copy = folder / "infra/k8s"
    shutil.copytree(ROOT / "infra/k8s", copy, ignore=shutil.ignore_patterns(".with-*"))
    shutil.copytree(ROOT / "infra/monitoring", folder / "infra/monitoring")
    overlay = copy / "overlays/mine"
    shutil.copytree(copy / "overlays/production", overlay)
    file = overlay / "kustomization.yaml"
    text = file.read_text().replace("music.example.com", "music.mine.org")
    file.write_text(text.replace("GATEWAY_CLASS", "envoy"))
    set_digest(overlay, "1")
    return overlay


def read_overlay(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((folder / "kustomization.yaml").read_text())
    return content


def change_overlay(folder: Path, **parts: Any) -> None:
    """Set fields of the overlay's kustomization."""
    content = read_overlay(folder) | parts
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))


def add_patches(folder: Path, *patches: dict[str, Any]) -> None:
    change_overlay(folder, patches=[*read_overlay(folder)["patches"], *patches])


def set_digest(folder: Path, digit: str) -> None:
    """Set the digest of the images."""
    names = (API, WORKER)
    images = [
        {"name": name, "newName": f"ghcr.io/me/{name}", "digest": f"sha256:{digit * 64}"}
        for name in names
    ]
    change_overlay(folder, images=images)


def start_cluster(folder: Path, overlay: Path, kubectl: str) -> Cluster:
    """Return a cluster with everything that the overlay presupposes."""
    made = Cluster(folder, kubectl)
    versions = {item["apiVersion"] for item in render(overlay)}
    versions |= {"metrics.k8s.io/v1beta1", "cert-manager.io/v1"}
    secrets = {
        "musicgen-database": secret(url="postgresql://music@db.mine.org/music"),
        "musicgen-bucket": secret(name="music", region="eu-west-1"),
    }
    made.change(versions=sorted(versions), secrets=secrets, nodes=[node("580.65.06")])
    return made
