"""`make cluster` lists everything that is missing at once, and goes on only without a gap."""

from __future__ import annotations

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
    assert [name for name in names if name != "kubectl"] == [
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
    found.pop("tofu")
    found.pop("kubectl")
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


def test_a_missing_parser_is_a_missing_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra `infra`, the list ended in a traceback."""
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    *_, last = preflight.list_checks("aws", {"HOME": str(tmp_path)})
    assert not last.is_met and ".[infra]" in last.detail
