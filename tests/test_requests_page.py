"""docs/requests.md shows every field, and its examples work."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from musicgen.request import GenerationRequest
from tests.support import ROOT

PAGE = (ROOT / "docs" / "requests.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [
    json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_is_a_valid_request(example: dict[str, Any]) -> None:
    if "input_audio" in example:
        example = example | {"input_audio": Path("clip.wav")}
    request = GenerationRequest.from_mapping(example)
    assert request.seconds > 0


def test_every_field_has_an_example() -> None:
    """The table at the end has one for each; see tests/handlers/test_contract.py."""
    examples = [json.loads(text) for text in re.findall(r"`(\{.*\})` \|$", PAGE, re.MULTILINE)]
    shown = {name for example in examples for name in example}
    assert shown == {field.name for field in fields(GenerationRequest)}
