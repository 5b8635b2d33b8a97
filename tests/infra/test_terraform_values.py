"""Values of the variables, judged by the real program: no cloud or provider is needed for that."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.check.terraform.modules import FOLDER
from infra.generate.cloud_variables import CLOUDS

PROGRAM = shutil.which("tofu") or shutil.which("terraform")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs tofu or terraform")
FILES = ("common.tf", "variables.tf")
WRONG = {
    "name": "Music",
    "host": "https://music.example.com",
    "email": "ops",
    "callers": '["0.0.0.0/0"]',
    "kubernetes_version": "1.33",
    "system_nodes": "0",
    "gpu_nodes_max": "101",
    "clip_days": "1.5",
    "cidr": "10.0.0.0/8",
    "region": "nowhere",
    "gpu_machine": "t3.large",
    "gpu_type": "amd",
    "database_machine": "small",
    "project": "1",
    "zone": "europe-west1-b",
}
GIVEN = {
    "aws": {"host": "music.example.com", "email": "ops@example.com", "callers": '["10.1.2.3/32"]'}
}
GIVEN["google"] = GIVEN["aws"] | {"project": "music-123456"}


def _plan(cloud: str, folder: Path, values: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name in FILES:
        shutil.copy(FOLDER / cloud / name, folder / name)
    given = [f"-var={name}={value}" for name, value in values.items()]
    command = [str(PROGRAM), f"-chdir={folder}", "plan", "-no-color", "-input=false", *given]
    env = {"CHECKPOINT_DISABLE": "1", "HOME": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_documented_variables_are_enough(cloud: str, tmp_path: Path) -> None:
    done = _plan(cloud, tmp_path, GIVEN[cloud])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_rule_of_a_variable_refuses_and_names_it(cloud: str, tmp_path: Path) -> None:
    texts = [(FOLDER / cloud / name).read_text(encoding="utf-8") for name in FILES]
    blocks = re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}\n', "".join(texts), re.DOTALL | re.MULTILINE
    )
    checked = {name for name, body in blocks if "validation {" in body}
    known = {name for name, _ in blocks}
    # A zone is compared with its region, so it is judged beside a good one.
    rounds = [{name for name in WRONG.keys() & known if name != "zone"}, {"zone"} & known]
    refused: set[str] = set()
    for names in filter(None, rounds):
        done = _plan(cloud, tmp_path, GIVEN[cloud] | {name: WRONG[name] for name in names})
        assert done.returncode == 1
        refused |= set(re.findall(r"^([a-z_]+): ", done.stderr, re.MULTILINE))
    assert refused == checked
