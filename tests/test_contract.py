"""Limits, defaults and choices that a platform has to spell out equal those of the package."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest

from handlers.cog_run import RANDOM_SEED
from infra.replicate.openapi_schema import SCHEMA, main, rendered
from infra.replicate.predict_inputs import InputField, NotPlainError, read_inputs, read_output
from musicgen import request
from musicgen.catalog import CATALOG, MUSICGEN_LICENCE
from musicgen.errors import InvalidRequest
from musicgen.request import GenerationRequest

SOURCE = (Path(__file__).parent.parent / "predict.py").read_text(encoding="utf-8")
INPUTS = {each.name: each for each in read_inputs(SOURCE)}
DEFAULTS = {each.name: each.default for each in fields(GenerationRequest)}

# Fields that Cog's callers do not have, each with the reason.
LEFT_OUT_OF_COG = {"variations": "one prediction answers with one file"}
# None of these has an upper bound but for what the model can do.
BOUNDS: dict[str, dict[str, float]] = {
    "prompt": {"max_length": request.PROMPT_MAX_CHARACTERS},
    "duration": {"ge": request.DURATION_MIN_SECONDS, "le": request.DURATION_MAX_SECONDS},
    "continuation_start": {"ge": 0.0},
    "continuation_end": {"ge": request.CONTINUATION_TO_THE_END},
    "top_k": {"ge": 0, "le": request.TOP_K_MAX},
    "top_p": {"ge": 0.0, "le": 1.0},
    "temperature": {"ge": 0.0},
    "classifier_free_guidance": {"ge": 1.0},
    "seed": {"ge": RANDOM_SEED, "le": request.SEED_MAX},
}
CHOICES = {
    "model_version": list(CATALOG),
    "normalization_strategy": list(request.NORMALIZATION_STRATEGIES),
    "output_format": list(request.OUTPUT_FORMATS),
    "bit_depth": list(request.BIT_DEPTHS),
}


def test_cog_has_every_field_of_a_request_or_says_why_not() -> None:
    assert set(INPUTS) == set(DEFAULTS) - set(LEFT_OUT_OF_COG)


@pytest.mark.parametrize("each", INPUTS.values(), ids=lambda each: each.name)
def test_cogs_literals_equal_the_constants_of_a_request(each: InputField) -> None:
    bounds = {
        k: v for k, v in each.options.items() if k in ("ge", "le", "min_length", "max_length")
    }
    assert bounds == BOUNDS.get(each.name, {})
    assert each.options.get("choices") == CHOICES.get(each.name)
    if each.name == "prompt":
        assert "default" not in each.options, "Cog shall ask for a prompt"
    else:
        assert each.options["default"] == DEFAULTS[each.name]
        assert type(each.options["default"]) is type(DEFAULTS[each.name])
    assert each.nullable == (each.options.get("default", "") is None)


@pytest.mark.parametrize("field", ["top_p", "temperature", "classifier_free_guidance"])
def test_a_bound_of_cog_is_the_bound_of_a_request(field: str) -> None:
    """Their limits are literals in the request too, so there is no constant to compare."""
    low = BOUNDS[field]["ge"]
    GenerationRequest.from_mapping({"prompt": "x", field: low})
    with pytest.raises(InvalidRequest):
        GenerationRequest.from_mapping({"prompt": "x", field: low - 0.01})


def test_run_passes_every_input_on_under_its_own_name() -> None:
    """Guards a field that is offered and then forgotten or crossed with its neighbour."""
    dicts = [node for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Dict)]
    assert len(dicts) == 1
    passed = {
        key.value: value.id
        for key, value in zip(dicts[0].keys, dicts[0].values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Name)
    }
    assert passed == {name: name for name in INPUTS}


def test_cog_answers_with_one_file() -> None:
    assert read_output(SOURCE) == "Path"


def test_the_licence_stands_where_a_model_is_chosen() -> None:
    assert MUSICGEN_LICENCE in INPUTS["model_version"].options["description"]


def test_every_input_is_described() -> None:
    assert all(each.options["description"] for each in INPUTS.values())


def test_the_stored_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == rendered(SOURCE)
    assert main(["--check"]) == 0


@pytest.mark.parametrize(
    "parameter",
    [
        "x: int = Input(default=5, le=LIMIT)",
        "x: int = Input(default=5, le=2 * 3)",
        "x: int = Input(default=IMPORTED)",
        "x: int = Input(default=4 * 2)",
        "x: int = Input(default=None)",
        "x: str = Input(default=f'a')",
        "x: str = Input(description='one ' 'two')",
        r"x: str = Input(description='tab\t')",
        "x: str = Input(choices=list(MORE))",
        "x: str = Input(choices=['a', IMPORTED])",
        "x: int = Input(5)",
        "x: int = 5",
        "x: int",
        "x = Input(default=5)",
        "x: Literal['a'] = Input(default='a')",
        "x: int | str = Input(default=5)",
        "x: int = Input(default=5, default_factory=int)",
    ],
)
def test_what_cog_would_drop_or_misread_is_refused(parameter: str) -> None:
    source = (
        f"LIMIT = 9\nMORE = ('a', 'b')\nclass Runner:\n def run(self, {parameter}) -> Path: ..."
    )
    with pytest.raises(NotPlainError):
        read_inputs(source)
