"""Redocly finds nothing in the document of the job API, and finds planted mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.check import openapi
from infra.check.tools import ROOT, find_tool

pytestmark = pytest.mark.skipif(
    find_tool("node") is None or find_tool("redocly") is None,
    reason="needs redocly: `make check-infra` brings it where Node.js is installed",
)


def test_the_document_is_clean() -> None:
    assert openapi.problems() == []


def _drop_summary(document: Any) -> None:
    del document["paths"]["/v1/generate"]["post"]["summary"]


def _break_example(document: Any) -> None:
    document["components"]["schemas"]["GenerationRequest"]["examples"] = [{"duration": "long"}]


def _break_reference(document: Any) -> None:
    del document["components"]["schemas"]["State"]


@pytest.mark.parametrize(
    ("plant", "rule"),
    [
        (_drop_summary, "operation-summary"),
        (_break_example, "no-invalid-schema-examples"),
        (_break_reference, "no-unresolved-refs"),
    ],
)
def test_mistakes_are_found(plant: Callable[[Any], None], rule: str, tmp_path: Path) -> None:
    document = json.loads((ROOT / openapi.DOCUMENT).read_text(encoding="utf-8"))
    plant(document)
    odd = tmp_path / "openapi.json"
    odd.write_text(json.dumps(document), encoding="utf-8")
    assert any(rule in line for line in openapi.problems(str(odd)))
