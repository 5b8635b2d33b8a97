"""Policies, secrets and licences: each scan passes here, and finds planted problems."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from infra.check import licences, overlays, policy, secret_scan
from infra.check.tools import find_tool

needs_checkov = pytest.mark.skipif(
    find_tool("checkov") is None or find_tool("kubectl") is None,
    reason="needs checkov and kubectl: `make check-infra` brings them",
)
needs_detector = pytest.mark.skipif(
    find_tool("detect-secrets") is None, reason="needs detect-secrets: `make check-infra` brings it"
)
needs_licences = pytest.mark.skipif(
    find_tool("pip-licenses") is None, reason="needs pip-licenses: `make check-infra` brings it"
)


@pytest.fixture(scope="module")
def production() -> list[dict[str, Any]]:
    return overlays.render(overlays.FOLDER / "overlays/production")


def _worker(objects: list[dict[str, Any]]) -> Any:
    (worker,) = [
        each
        for each in objects
        if each["kind"] == "Deployment" and each["metadata"]["name"] == "musicgen-worker"
    ]
    return worker["spec"]["template"]["spec"]


def _run_privileged(pod: Any) -> None:
    pod["containers"][0]["securityContext"]["privileged"] = True


def _mount_docker_socket(pod: Any) -> None:
    pod["volumes"].append({"name": "s", "hostPath": {"path": "/var/run/docker.sock"}})


def _drop_memory_limit(pod: Any) -> None:
    del pod["containers"][0]["resources"]["limits"]["memory"]


@needs_checkov
@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (_run_privileged, "CKV_K8S_16"),
        (_mount_docker_socket, "CKV_K8S_27"),
        (_drop_memory_limit, "CKV_K8S_13"),
    ],
)
def test_a_policy_that_is_broken_is_named(
    production: list[dict[str, Any]], plant: Callable[[Any], None], rule: str
) -> None:
    objects = copy.deepcopy(production)
    assert policy.check_objects(objects) == []
    plant(_worker(objects))
    assert [each for each in policy.check_objects(objects) if rule in each]


@needs_checkov
def test_an_image_that_runs_as_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text('FROM python:3.12\nUSER root\nCMD ["python"]\n')
    assert [each for each in policy.check_dockerfiles(tmp_path) if "CKV_DOCKER_8" in each]


@needs_checkov
def test_nothing_to_check_is_no_pass(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to check"):
        policy.check_dockerfiles(tmp_path)


def test_every_exception_has_its_reason() -> None:
    assert all(len(reason) > 20 for reason in policy.SKIPPED_RULES.values())


@needs_detector
def test_no_secret_is_written_down() -> None:
    assert secret_scan.problems() == []


# Built from parts, because this file must not contain a secret.
SECRETS = {
    "Hugging Face": "hf_" + "aB3" * 11 + "x",
    "Replicate": "r8_" + "aB3" * 12 + "x",
    "RunPod": "rpa_" + "A1" * 22,
    "a key of the job API": "mg_" + "0a1b2c3d" + "_" + "aB3" * 14 + "x",
    "a webhook's": "whsec_" + "aB3" * 14 + "x=",
    "AWS": "AKIA" + "IOSFODNN7" + "ABCDEFG",
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
}


@needs_detector
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_also_in_tests(secret: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text(f"value = 'calm piano'\nother = '{secret}'\n")
    (problem,) = secret_scan.scan_files([file.name], secret_scan.GUESSES, tmp_path)
    assert ":2: " in problem


@needs_detector
def test_a_password_is_found_where_the_project_s_own_code_is(tmp_path: Path) -> None:
    file = tmp_path / "settings.py"
    file.write_text("database = 'postgresql://me:" + "hunter2" + "@db/music'\n")
    assert secret_scan.scan_files([file.name], folder=tmp_path)


@needs_licences
def test_every_licence_is_allowed() -> None:
    assert licences.problems() == []


@pytest.mark.parametrize(
    "text",
    [
        *("MIT", "Apache-2.0 AND MIT", "GPL-3.0 OR MIT", "LGPL-3.0-only"),
        *("BSD License; MIT License", "GNU Lesser General Public License v3 (LGPLv3)"),
    ],
)
def test_a_licence_that_may_be_shipped(text: str) -> None:
    assert licences.problems_of({"a-package": text}, ["a-package"]) == []


@pytest.mark.parametrize(
    "text", ["GPL-3.0-only", "AGPL-3.0", "MIT AND GPL-2.0-or-later", "UNKNOWN", "", "Proprietary"]
)
def test_a_licence_that_may_not(text: str) -> None:
    (problem,) = licences.problems_of({"a-package": text}, ["a-package"])
    assert problem.startswith("a-package: ")


def test_a_package_whose_licence_nobody_told_is_named() -> None:
    assert licences.problems_of({"a": "MIT"}, ["a", "b"]) == ["b: its licence is unknown"]


def test_all_that_a_requirement_brings_is_looked_at() -> None:
    assert {"httpx", "httpcore", "h11", "certifi"} <= set(
        licences.resolve([Requirement("httpx>=0.28")])
    )
    with pytest.raises(RuntimeError, match="no-such-package-anywhere is not installed"):
        licences.resolve([Requirement("no-such-package-anywhere")])
