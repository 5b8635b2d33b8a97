"""`make cluster` lists everything that is missing at once, and goes on only without a gap."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infra.check.terraform.modules import FOLDER
from infra.terraform import preflight
from tests.support import ROOT

VARIABLES = {"aws": ["host", "email", "callers"], "google": ["host", "email", "callers", "project"]}
KEYS = {
    "aws": {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"},
    "google": {"GOOGLE_OAUTH_ACCESS_TOKEN": "x"},
}


@pytest.mark.parametrize("cloud", preflight.CLOUDS)
def test_a_newcomer_sees_all_that_is_missing(cloud: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "infra.terraform.preflight", cloud],
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TOFU": "no-such-program"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    missing = [line[4:] for line in ended.stdout.splitlines() if line.startswith("NO")]
    names = [line.partition(":")[0] for line in missing]
    title = {"aws": "AWS", "google": "Google"}[cloud]
    assert ended.returncode == 2
    program = {"aws": "aws", "google": "gcloud"}[cloud]
    assert [name for name in names if name not in ("kubectl", program)] == [
        *("no-such-program", f"{title} credentials"),
        *(f"variable {name}" for name in VARIABLES[cloud]),
    ]
    assert all(": " in line for line in missing), "each has a remedy"


@pytest.mark.parametrize("cloud", preflight.CLOUDS)
def test_values_come_from_the_file_or_the_environment(cloud: str, tmp_path: Path) -> None:
    (tmp_path / cloud).mkdir()
    for name in ("variables.tf", "common.tf"):
        source = FOLDER / cloud / name
        if source.is_file():
            (tmp_path / cloud / name).write_text(source.read_text())
    first, *others = VARIABLES[cloud]
    values = "".join(f'{name} = "x" # given\n' for name in others)
    (tmp_path / cloud / preflight.VALUES).write_text(values)
    environment = {"HOME": str(tmp_path), **KEYS[cloud], f"TF_VAR_{first}": "y"}
    found = {c.name: c.is_met for c in preflight.list_checks(cloud, environment, tmp_path)}
    for program in ("tofu", "kubectl", {"aws": "aws", "google": "gcloud"}[cloud]):
        found.pop(program)
    assert len(found) == 1 + len(VARIABLES[cloud]) and all(found.values()), found
    (tmp_path / cloud / preflight.VALUES).write_text("host = = 1\n")
    [broken] = [c for c in preflight.list_checks(cloud, environment, tmp_path) if "HCL" in c.detail]
    assert not broken.is_met and preflight.VALUES in broken.name


@pytest.mark.parametrize(
    ("cloud", "environment", "words"),
    [
        ("aws", {"AWS_ACCESS_KEY_ID": "x"}, "set AWS_SECRET_ACCESS_KEY too"),
        ("aws", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "none: run"),
        ("google", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/key.json"}, "/no/key.json, which is"),
    ],
)
def test_half_set_credentials_are_named(
    cloud: str, environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    found = preflight.list_checks(cloud, {"HOME": str(tmp_path), **environment})
    [check] = [each for each in found if "credentials" in each.name]
    assert not check.is_met and words in check.detail


@pytest.mark.parametrize(("cloud", "program"), [("aws", "aws"), ("google", "gcloud")])
def test_the_cloud_s_own_program_is_needed(cloud: str, program: str, tmp_path: Path) -> None:
    """OpenTofu runs `aws` for a token once the cluster is there, after a quarter of an hour."""

    def check() -> bool:
        environment = {"HOME": str(tmp_path), "PATH": str(tmp_path)}
        found = {each.name: each for each in preflight.list_checks(cloud, environment)}
        return found[program].is_met

    if shutil.which(program) is None:
        assert not check()
    (tmp_path / program).write_text("#!/bin/sh\n")
    (tmp_path / program).chmod(0o755)
    assert check()


@pytest.mark.parametrize(
    ("cloud", "environment"),
    [
        ("aws", {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://localhost:1338/latest/meta-data"}),
        ("aws", {"AWS_WEB_IDENTITY_TOKEN_FILE": "/run/token"}),
        ("aws", {"AWS_SHARED_CREDENTIALS_FILE": __file__}),
        ("aws", {"AWS_CONFIG_FILE": __file__}),
        ("google", {"GOOGLE_CREDENTIALS": "{}"}),
    ],
)
def test_credentials_count_from_wherever_opentofu_takes_them(
    cloud: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """A cloud's own shell and a CI job have no file in the home folder."""
    found = preflight.list_checks(cloud, {"HOME": str(tmp_path), **environment})
    [check] = [each for each in found if "credentials" in each.name]
    assert check.is_met, check


def test_a_missing_parser_is_a_missing_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra `infra`, the list ended in a traceback."""
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    *_, last = preflight.list_checks("aws", {"HOME": str(tmp_path)})
    assert not last.is_met and ".[infra]" in last.detail
