"""RunPod's files: those of its Hub, the image and the job of the local test."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import fields
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from infra.lock.files import CUDA_TORCH, FILES, read_locked
from musicgen import catalog
from musicgen.request import GenerationRequest
from musicgen.settings import BucketSettings, Settings
from tests.support import ROOT

HUB: dict[str, Any] = json.loads((ROOT / ".runpod" / "hub.json").read_text(encoding="utf-8"))
TESTS: dict[str, Any] = json.loads((ROOT / ".runpod" / "tests.json").read_text(encoding="utf-8"))
DOCKERFILE = (ROOT / ".runpod" / "Dockerfile").read_text(encoding="utf-8")
REQUIREMENTS = ROOT / "infra" / "runpod" / "requirements.txt"
TEXT = {"type": "string", "minLength": 1}
VERSIONS = {"type": "array", "items": {"type": "string", "pattern": r"^\d+\.\d+$"}}
VALUE = {"type": ["string", "number", "boolean"]}
VARIABLE = {**TEXT, "pattern": "^[A-Z][A-Z0-9_]*$"}


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "additionalProperties": False,
        "properties": properties,
    }


INPUT = _object(
    ["name", "type", "description"],
    {
        "name": TEXT,
        "type": {"enum": ["string", "number", "boolean", "huggingface"]},
        "description": {"type": "string"},
        "default": VALUE,
        "options": {
            "type": "array",
            "items": _object(["label", "value"], {"label": TEXT, "value": TEXT}),
        },
        "min": {"type": "number"},
        "max": {"type": "number"},
        "trueValue": TEXT,
        "falseValue": TEXT,
        "required": {"type": "boolean"},
        "advanced": {"type": "boolean"},
    },
)
ENV = {
    "type": "array",
    "items": {
        "oneOf": [
            _object(["key", "value"], {"key": VARIABLE, "value": {"type": "string"}}),
            _object(["key", "input"], {"key": VARIABLE, "input": INPUT}),
        ]
    },
}
PRESET = _object(
    ["name", "defaults"],
    {"name": TEXT, "defaults": {"type": "object", "additionalProperties": VALUE}},
)
HUB_RULES = _object(
    ["title", "description", "type", "category", "config"],
    {
        "title": TEXT,
        "description": TEXT,
        "type": {"const": "serverless"},
        "category": {"enum": ["audio", "embedding", "language", "video", "image"]},
        "iconUrl": TEXT,
        "config": _object(
            ["runsOn", "containerDiskInGb", "gpuCount", "gpuIds"],
            {
                "runsOn": {"const": "GPU"},
                "containerDiskInGb": {"type": "integer", "minimum": 1},
                "gpuCount": {"type": "integer", "minimum": 1},
                "gpuIds": TEXT,
                "allowedCudaVersions": VERSIONS,
                "env": ENV,
                "presets": {"type": "array", "items": PRESET},
            },
        ),
    },
)
TEST = _object(
    ["name", "input"],
    {"name": TEXT, "input": {"type": "object"}, "timeout": {"type": "integer", "minimum": 1000}},
)
TESTS_RULES = _object(
    ["tests", "config"],
    {
        "tests": {"type": "array", "minItems": 1, "items": TEST},
        "config": _object(
            ["gpuTypeId", "gpuCount"],
            {
                "gpuTypeId": TEXT,
                "gpuCount": {"type": "integer", "minimum": 1},
                "env": ENV,
                "allowedCudaVersions": VERSIONS,
            },
        ),
    },
)


def _settings_variables() -> set[str]:
    plain = {f"MUSICGEN_{each.name.upper()}" for each in fields(Settings)}
    bucket = {f"MUSICGEN_BUCKET_{f.name.upper()}" for f in fields(BucketSettings)}
    return plain | bucket - {"MUSICGEN_BUCKET_NAME"}


def _inputs() -> dict[str, dict[str, Any]]:
    return {e["key"]: e["input"] for e in HUB["config"]["env"] if "input" in e}


def test_the_files_have_the_shapes_that_the_hub_reads() -> None:
    jsonschema.validate(HUB, HUB_RULES)
    jsonschema.validate(TESTS, TESTS_RULES)


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "pod"},
        {"category": "music"},
        {"config": HUB["config"] | {"gpuIds": 4}},
        {"config": HUB["config"] | {"env": [{"key": "A", "value": "b", "input": {}}]}},
        {"icon": "https://example.com"},
    ],
)
def test_the_rules_refuse_what_the_hub_refuses(broken: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(deepcopy(HUB) | broken, HUB_RULES)


def test_every_variable_is_a_setting() -> None:
    named = [entry["key"] for entry in HUB["config"]["env"] + TESTS["config"]["env"]]
    named += [name for preset in HUB["config"]["presets"] for name in preset["defaults"]]
    assert set(named) <= _settings_variables()
    assert {"MUSICGEN_MODEL", "MUSICGEN_PRECISION", "MUSICGEN_BUCKET"} <= set(named)


def _as_variable(given: dict[str, Any], value: object) -> str:
    if given["type"] == "boolean":
        return str(given["trueValue"] if value else given["falseValue"])
    return str(value)


def test_every_default_and_every_option_is_accepted_by_the_settings() -> None:
    for key, given in _inputs().items():
        values = [option["value"] for option in given.get("options", [])]
        values += [given[edge] for edge in ("default", "min", "max") if edge in given]
        if given["type"] == "boolean":
            values = [True, False]
        for value in values:
            Settings.from_env({key: _as_variable(given, value)})
    for preset in HUB["config"]["presets"]:
        Settings.from_env({key: str(value) for key, value in preset["defaults"].items()})


def test_the_models_are_those_of_the_catalog_with_their_licence() -> None:
    given = _inputs()["MUSICGEN_MODEL"]
    offered = {option["value"]: option["label"] for option in given["options"]}
    assert set(offered) == set(catalog.CATALOG)
    for name, label in offered.items():
        assert catalog.CATALOG[name].licence in label
    assert catalog.MUSICGEN_LICENCE in given["description"]
    assert catalog.MUSICGEN_LICENCE in HUB["description"]
    for preset in HUB["config"]["presets"]:
        assert catalog.CATALOG[preset["defaults"]["MUSICGEN_MODEL"]].licence in preset["name"]


def test_a_secret_has_no_default() -> None:
    for key, given in _inputs().items():
        if "SECRET" in key or "ACCESS_KEY" in key:
            assert not given.get("default")


@pytest.mark.parametrize("test", TESTS["tests"], ids=lambda test: str(test["name"]))
def test_every_input_of_the_hubs_tests_is_a_request(test: dict[str, Any]) -> None:
    GenerationRequest.from_mapping(test["input"])


def test_the_hubs_tests_need_no_licensed_weights() -> None:
    assert Settings.from_env({e["key"]: e["value"] for e in TESTS["config"]["env"]}).model == "demo"


def test_the_local_job_is_a_request() -> None:
    job = json.loads((ROOT / "test_input.json").read_text(encoding="utf-8"))
    assert list(job) == ["input"]
    assert GenerationRequest.from_mapping(job["input"]).duration <= 2


def test_the_image_installs_what_a_worker_needs() -> None:
    [file] = [file for file in FILES if file.path == str(REQUIREMENTS.relative_to(ROOT))]
    assert set(file.extras) == {"containers", "runpod", "s3"} and not file.without
    assert any(
        "--require-hashes --requirement /tmp/requirements.txt" in each and "${TORCH}" in each
        for each in _instructions("RUN")
    )
    assert "TORCH=torch-requirements.txt" in _instructions("ARG")


def test_the_machines_are_those_that_torch_runs_on() -> None:
    """A list is exact: a driver of a later CUDA 13 runs torch too, and is named as well."""
    cuda = re.search(r'^  cuda: "([^"]+)"', (ROOT / "cog.yaml").read_text(encoding="utf-8"), re.M)
    assert cuda is not None
    versions = HUB["config"]["allowedCudaVersions"]
    assert versions == TESTS["config"]["allowedCudaVersions"]
    assert versions[0] == cuda[1]
    numbers = [tuple(map(int, version.split("."))) for version in versions]
    assert numbers == [(13, minor) for minor in range(len(numbers))] and len(numbers) >= 4
    runtime = {each.name: each for each, _ in read_locked(ROOT / CUDA_TORCH)}["cuda-toolkit"]
    assert str(runtime.specifier).startswith(f"=={cuda[1]}.")


def _instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return re.findall(rf"^{name} (.+)$", joined, re.MULTILINE)


def test_the_image_has_what_its_command_needs() -> None:
    lines = [line for line in _instructions("COPY") if "--from=" not in line]
    copied = [part for line in lines for part in line.split()[:-1]]
    sources = [part for part in copied if not part.startswith("--")]
    assert {"musicgen", "handlers", "runpod_handler.py", "test_input.json"} <= set(sources)
    assert str(REQUIREMENTS.relative_to(ROOT)) in sources
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] not in ignored
    [command] = _instructions("CMD")
    assert json.loads(command) == ["python", "-u", "runpod_handler.py"]


def test_the_image_has_bytecode_and_packed_weights_when_it_is_built() -> None:
    """Otherwise each start would compile every module and convert every weight."""
    commands = _instructions("RUN")
    assert any("infra.coldstart.diet" in each for each in commands)
    assert any("compileall" in each and "runpod_handler.py" in each for each in commands)
    [packing] = [each for each in commands if "musicgen pack" in each]
    assert '--form "${FORM}" -o /tmp/weights.packed' in packing
    assert "--from=build --chown=worker /tmp/weights.packed /app/weights.packed" in (
        _instructions("COPY")
    )
    assert "FORM=plain-bfloat16" in _instructions("ARG")


def test_the_image_runs_as_a_user_without_rights_and_from_a_pinned_base() -> None:
    assert _instructions("FROM") == ["python:${PYTHON} AS build", "python:${PYTHON}"]
    default = next(line for line in _instructions("ARG") if line.startswith("PYTHON="))
    assert re.fullmatch(r"PYTHON=3\.\d+-slim-\w+", default)
    [user] = _instructions("USER")
    assert user not in ("root", "0")


def test_the_image_holds_no_licensed_weights_unless_they_are_asked_for() -> None:
    assert "MODEL=demo" in _instructions("ARG")
    assert "MUSICGEN_MODEL=/app/weights.packed" in " ".join(_instructions("ENV")).split()
