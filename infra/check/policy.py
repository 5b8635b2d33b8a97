"""Policies that others agreed on, by Checkov, for what a cluster gets and images are built from.

What is not followed here stands below with its reason, or as an annotation of the object."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from infra.check import overlays
from infra.check.tools import ROOT, output

UNHEEDED = {
    "CKV_K8S_15": "a digest does not move: to pull it again makes a start wait for the registry",
    "CKV_K8S_35": "DATABASE_URL and the bucket's keys are variables wherever this runs",
    "CKV_DOCKER_7": "BASE has no default: a build names a digest",
}
FOR_OTHERS = ("production", "spot")
"""Overlays for other people's traffic; `local` is for one's own machine."""


def problems() -> list[str]:
    found = []
    for name, objects in overlays.every().items():
        if name.split()[0] in FOR_OTHERS:
            found += [f"{name}: {each}" for each in of_objects(objects)]
    return [*found, *of_dockerfiles(ROOT / "infra/docker")]


def of_objects(objects: list[dict[str, Any]]) -> list[str]:
    with TemporaryDirectory(prefix="musicgen-policy-") as folder:
        file = Path(folder) / "rendered.yaml"
        file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        return list(_failed("kubernetes", "--file", str(file)))


def of_dockerfiles(folder: Path) -> list[str]:
    return list(_failed("dockerfile", "--directory", str(folder)))


def _failed(framework: str, *what: str) -> Iterator[str]:
    """Raises: ValueError if nothing was checked: that is no pass."""
    skipped = ",".join(UNHEEDED)
    options = ("--skip-download", "--quiet", "--compact", "--output", "json")
    said = output("checkov", *what, "--framework", framework, "--skip-check", skipped, *options)
    report: Mapping[str, Any] = json.loads(said)
    if not report.get("summary", {}).get("passed"):
        raise ValueError(f"checkov found nothing to check: {said[:300]}")
    for each in report["results"]["failed_checks"]:
        yield f"{each['resource']}: {each['check_id']}: {each['check_name']}"
