"""Common policies for rendered objects and Dockerfiles, checked by Checkov.

A skipped rule has its reason in `SKIPPED_RULES`, or in an annotation of the object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from infra.check import overlays
from infra.check.tools import ROOT, read_output

SKIPPED_RULES = {
    "CKV_K8S_15": "a digest never changes; pulling it again only delays the start",
    "CKV_K8S_35": "DATABASE_URL and the bucket's keys are variables on every platform",
    "CKV_DOCKER_7": "BASE has no default: each build names a digest",
}
PUBLIC_OVERLAYS = ("production", "spot")
"""Overlays for public traffic; `local` is for a developer's machine."""


def problems() -> list[str]:
    """Return the policy violations of the public overlays and the Dockerfiles."""
    problems = []
    for name, objects in overlays.render_all().items():
        if name.split()[0] in PUBLIC_OVERLAYS:
            problems += [f"{name}: {problem}" for problem in check_objects(objects)]
    return [*problems, *check_dockerfiles(ROOT / "infra/docker")]


def check_objects(objects: list[dict[str, Any]]) -> list[str]:
    """Return the policy violations of rendered objects."""
    with TemporaryDirectory(prefix="musicgen-policy-") as folder:
        file = Path(folder) / "rendered.yaml"
        file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        return list(_run_checkov("kubernetes", "--file", str(file)))


def check_dockerfiles(folder: Path) -> list[str]:
    """Return the policy violations of the Dockerfiles in a folder."""
    return list(_run_checkov("dockerfile", "--directory", str(folder)))


def _run_checkov(framework: str, *source: str) -> Iterator[str]:
    """Yield the failed checks.

    Raises: ValueError without any check, because a skipped check is no pass.
    """
    skipped = ",".join(SKIPPED_RULES)
    options = ("--skip-download", "--quiet", "--compact", "--output", "json")
    rules = ("--framework", framework, "--skip-check", skipped)
    output = read_output("checkov", *source, *rules, *options)
    report: Mapping[str, Any] = json.loads(output)
    if not report.get("summary", {}).get("passed"):
        raise ValueError(f"checkov found nothing to check: {output[:300]}")
    for failure in report["results"]["failed_checks"]:
        yield f"{failure['resource']}: {failure['check_id']}: {failure['check_name']}"
