"""`make cluster` lists everything that is missing at once, and goes on only without a gap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.check.terraform.modules import FOLDER
from infra.terraform import preflight
from tests.support import ROOT

VARIABLES = {"aws": ["host", "email", "callers"], "google": ["project", "host", "email", "callers"]}
KEYS = {"aws": "AWS_ACCESS_KEY_ID", "google": "GOOGLE_OAUTH_ACCESS_TOKEN"}


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
    assert [name for name in names if name != "kubectl"] == [
        *("no-such-program", f"{title} credentials"),
        *(f"variable {name}" for name in VARIABLES[cloud]),
    ]
    assert all(": " in line for line in missing), "each has a remedy"


@pytest.mark.parametrize("cloud", preflight.CLOUDS)
def test_values_come_from_the_file_or_the_environment(cloud: str, tmp_path: Path) -> None:
    (tmp_path / cloud).mkdir()
    for name in ("variables.tf", "main.tf"):
        source = FOLDER / cloud / name
        if source.is_file():
            (tmp_path / cloud / name).write_text(source.read_text())
    first, *others = VARIABLES[cloud]
    values = "".join(f'{name} = "x" # given\n' for name in others)
    (tmp_path / cloud / preflight.VALUES).write_text(values)
    environment = {"HOME": str(tmp_path), KEYS[cloud]: "x", f"TF_VAR_{first}": "y"}
    found = {c.name: c.is_met for c in preflight.list_checks(cloud, environment, tmp_path)}
    found.pop("tofu")
    found.pop("kubectl")
    assert len(found) == 1 + len(VARIABLES[cloud]) and all(found.values()), found
    (tmp_path / cloud / preflight.VALUES).write_text("host = = 1\n")
    [broken] = [c for c in preflight.list_checks(cloud, environment, tmp_path) if "HCL" in c.detail]
    assert not broken.is_met and preflight.VALUES in broken.name
