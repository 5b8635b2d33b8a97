"""cog.yaml follows the configuration rules of Cog 0.23 and has the project's requirements."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]
from packaging.specifiers import SpecifierSet

from infra.lock.files import FILES, TORCH
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
                "python_version": {**TEXT, "enum": ["3.11", "3.12", "3.13"]},
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


def test_the_image_installs_what_a_runner_needs_and_one_torch() -> None:
    """Cog derives the CUDA version from an exact known torch, otherwise from `cuda`."""
    [file] = [file for file in FILES if file.path == CONFIG["build"]["python_requirements"]]
    assert file.extras == ("containers", "s3") and file.more == (TORCH,)
    assert f"--python-version={CONFIG['build']['python_version']}" in file.options
    assert f"{TORCH}\n" in (ROOT / file.path).read_text(encoding="utf-8")
    assert CONFIG["build"]["gpu"]
    assert CONFIG["build"]["cuda"]


def test_the_sdk_is_the_one_that_the_schema_was_written_for() -> None:
    assert CONFIG["build"]["sdk_version"] == COG_VERSION
    extra = re.search(r'^cog = \["cog([^"]+)"\]', (ROOT / "pyproject.toml").read_text(), re.M)
    assert extra is not None
    assert COG_VERSION in SpecifierSet(extra[1])
