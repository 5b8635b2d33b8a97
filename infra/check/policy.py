"""Common policies for rendered objects, Dockerfiles and infra/terraform, checked by Checkov.

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
SKIPPED_TERRAFORM_RULES = {
    "CKV_AWS_18": "a log of each access costs more than the clips; set it up if you need it",
    "CKV_AWS_21": "a caller's deleted clip must be gone, and not live on as an old version",
    "CKV_AWS_38": "callers, which has no default, names the networks",
    "CKV_AWS_39": "without a public endpoint, the first apply needs a machine inside the network",
    "CKV_AWS_109": "a key's policy needs the account's administrators, or nobody could change it",
    "CKV_AWS_111": "as above: `*` in a key's policy is that key alone",
    "CKV_AWS_118": "enhanced monitoring costs extra; CloudWatch has the basic metrics",
    "CKV_AWS_136": "ECR encrypts with AES256",
    "CKV_AWS_144": "clips are kept for hours or days and can be made again from their seed",
    "CKV_AWS_145": "AES256: a KMS key costs a call for every object",
    "CKV_AWS_157": "one zone is the small default; `multi_az` in database.tf makes a standby",
    "CKV_AWS_161": "the service logs in by password, over TLS",
    "CKV_AWS_353": "performance insights do not exist for the small default class",
    "CKV_AWS_356": "a key's policy; and Describe calls and tagged groups of the autoscaler",
    "CKV_AWS_394": "only the first two zones are used",
    "CKV2_AWS_11": "flow logs cost by the gigabyte; set them up if you need them",
    "CKV2_AWS_62": "nothing waits for events of the bucket",
    "CKV_GCP_6": "ssl_mode ENCRYPTED_ONLY, which replaces require_ssl",
    "CKV_GCP_12": "Dataplane V2 enforces NetworkPolicies",
    "CKV_GCP_51": "set, but Checkov reads one database_flags alone",
    "CKV_GCP_52": "as above",
    "CKV_GCP_53": "as above",
    "CKV_GCP_54": "as above",
    "CKV_GCP_57": "statements of more than a second are logged, to find slow ones",
    "CKV_GCP_61": "the subnetwork has flow logs",
    "CKV_GCP_62": "a log of each access costs more than the clips; set it up if you need it",
    "CKV_GCP_65": "a group of an organization's directory, which not everybody has",
    "CKV_GCP_66": "images come by digest; binary authorization needs attestors of your own",
    "CKV_GCP_78": "a caller's deleted clip must be gone, and not live on as an old version",
    "CKV_GCP_79": "17, tested with the service",
    "CKV_GCP_84": "Google encrypts with its own key",
    "CKV_GCP_108": "a look-up of a name for each connection slows the database down",
    "CKV_GCP_109": "PostgreSQL's default, warning, is the useful level",
    "CKV_GCP_110": "the service's own log has every call with its key",
    "CKV_GCP_111": "statements have callers' texts",
    "CKV2_GCP_13": "the length of every statement fills the log; slow ones are logged",
    "CKV2_GCP_18": "GKE makes the rules of its nodes; the network begins without any",
}
"""For infra/terraform; they may be set in a copy for an organization with such rules."""
PUBLIC_OVERLAYS = ("production", "spot")
"""Overlays for public traffic; `local` is for a developer's machine."""


def problems() -> list[str]:
    """Return the policy violations of the overlays, the Dockerfiles and infra/terraform."""
    problems = []
    for name, objects in overlays.render_all().items():
        if name.split()[0] in PUBLIC_OVERLAYS:
            problems += [f"{name}: {problem}" for problem in check_objects(objects)]
    return [
        *problems,
        *check_dockerfiles(ROOT / "infra/docker"),
        *check_terraform(ROOT / "infra/terraform"),
    ]


def check_objects(objects: list[dict[str, Any]]) -> list[str]:
    """Return the policy violations of rendered objects."""
    with TemporaryDirectory(prefix="musicgen-policy-") as folder:
        file = Path(folder) / "rendered.yaml"
        file.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        return list(_run_checkov("kubernetes", "--file", str(file)))


def check_dockerfiles(folder: Path) -> list[str]:
    """Return the policy violations of the Dockerfiles in a folder."""
    return list(_run_checkov("dockerfile", "--directory", str(folder)))


def check_terraform(folder: Path) -> list[str]:
    """Return the policy violations of modules of OpenTofu in a folder."""
    return list(_run_checkov("terraform", "--directory", str(folder)))


def _run_checkov(framework: str, *source: str) -> Iterator[str]:
    """Yield the failed checks.

    Raises: ValueError without any check, because a skipped check is no pass.
    """
    skipped = ",".join(SKIPPED_TERRAFORM_RULES if framework == "terraform" else SKIPPED_RULES)
    options = ("--skip-download", "--quiet", "--compact", "--output", "json")
    rules = ("--framework", framework, "--skip-check", skipped)
    output = read_output("checkov", *source, *rules, *options)
    report: Mapping[str, Any] = json.loads(output)
    if not report.get("summary", {}).get("passed"):
        raise ValueError(f"checkov found nothing to check: {output[:300]}")
    for failure in report["results"]["failed_checks"]:
        yield f"{failure['resource']}: {failure['check_id']}: {failure['check_name']}"
