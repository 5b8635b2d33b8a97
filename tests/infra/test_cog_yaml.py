"""cog.yaml follows the configuration rules of Cog 0.23 and has the project's requirements."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra.replicate.openapi_schema import COG_VERSION
from infra.replicate.predict_inputs import read_inputs
from musicgen import catalog
from musicgen.settings import Settings
from tests.support import ROOT

CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "cog.yaml").read_text(encoding="utf-8"))
TEXT = {"type": "string"}
TEXTS = {"type": "array", "items": TEXT}
# Cog's keys without the deprecated ones: predict, concurrency, python_packages, pre_install.
RULES = {
    "type": "object",
    "required": ["build", "run"],
    "additionalProperties": False,
    "properties": {
        "image": TEXT,
        "model": TEXT,
        "run": {**TEXT, "pattern": r"^[\w/]+\.py:\w+$"},
        "environment": {"type": "array", "items": {**TEXT, "pattern": r"^[A-Za-z_]\w*=.*$"}},
        "build": {
            "type": "object",
            "required": ["python_version", "python_requirements"],
            "additionalProperties": False,
            "properties": {
                "gpu": {"type": "boolean"},
                "cuda": {**TEXT, "pattern": r"^\d+\.\d+(\.\d+)?$"},
                "cudnn": TEXT,
                "python_version": {**TEXT, "enum": ["3.10", "3.11", "3.12", "3.13"]},
                "python_requirements": TEXT,
                "sdk_version": TEXT,
                "system_packages": TEXTS,
                "run": {"type": "array"},
            },
        },
    },
}
# Variables refused by Cog.
FORBIDDEN = (
    "PATH", "LD_LIBRARY_PATH", "LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED",
    "R8_*", "REPLICATE_*", "CUDA_*", "NVIDIA_*", "NV_*", "PGET_*", "KUBERNETES_*",
    "HF_ENDPOINT", "HF_HUB_ENABLE_HF_TRANSFER",
)  # fmt: skip


def _environment() -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in CONFIG["environment"])


def _requirements(lines: list[str]) -> dict[str, SpecifierSet]:
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {each.name: each.specifier for each in parsed}


def _read_list(opening: str) -> list[str]:
    """Return the requirements of one list in pyproject.toml."""
    # Read as text: tomllib is not in Python 3.10.
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(rf"^{opening} = \[(.*?)\]$", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    return re.findall(r'"([^"]+)"', block[1])


def _collect_requirements() -> dict[str, SpecifierSet]:
    return _requirements(_read_list("dependencies") + _read_list("s3"))


def _cog_requirements() -> dict[str, SpecifierSet]:
    file = ROOT / CONFIG["build"]["python_requirements"]
    return _requirements(file.read_text(encoding="utf-8").splitlines())


def test_cog_yaml_keeps_cogs_rules() -> None:
    jsonschema.validate(CONFIG, RULES)


@pytest.mark.parametrize(
    "change",
    [
        {"predict": "predict.py:Runner"},
        {"fast": True},
        {"run": "Runner"},
        {"build": {"python_version": "3.12", "python_packages": []}},
        {"environment": {"A": "b"}},
    ],
)
def test_the_rules_refuse_what_cog_refuses_or_deprecates(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(CONFIG | change, RULES)


def test_run_names_a_class_that_is_there() -> None:
    file, name = CONFIG["run"].split(":")
    assert read_inputs((ROOT / file).read_text(encoding="utf-8"), name)


def test_no_variable_is_one_that_cog_refuses() -> None:
    names = list(_environment())
    assert len(names) == len(CONFIG["environment"])
    assert not [n for n in names if any(fnmatchcase(n, pattern) for pattern in FORBIDDEN)]


def test_the_environment_makes_valid_settings() -> None:
    assert Settings.from_env(_environment()).model in catalog.CATALOG


def test_the_image_installs_the_core_dependencies_and_those_of_a_bucket() -> None:
    ours, wanted = _cog_requirements(), _collect_requirements()
    assert ours.keys() == wanted.keys()
    assert {k: v for k, v in ours.items() if k != "torch"} == {
        k: v for k, v in wanted.items() if k != "torch"
    }


def test_torch_is_one_version_that_the_project_supports() -> None:
    """Cog derives the CUDA version from an exact known torch, otherwise from `cuda`."""
    [pin] = _cog_requirements()["torch"]
    assert pin.operator == "=="
    assert pin.version in _collect_requirements()["torch"]
    assert CONFIG["build"]["gpu"]
    assert CONFIG["build"]["cuda"]


def test_the_sdk_is_the_one_that_the_schema_was_written_for() -> None:
    assert CONFIG["build"]["sdk_version"] == COG_VERSION
    extra = re.search(r'^cog = \["cog([^"]+)"\]', (ROOT / "pyproject.toml").read_text(), re.M)
    assert extra is not None
    assert COG_VERSION in SpecifierSet(extra[1])
