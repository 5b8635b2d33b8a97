"""Limits, defaults and choices that a platform has to spell out equal those of the package."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from handlers.cog_callers import MULTI_BAND_DIFFUSION
from handlers.job_api.api.request_schema import JOB_FIELDS, build_request_schema
from infra.generate.__main__ import main as generate
from infra.replicate.openapi_schema import FILE_INPUTS, SCHEMA, document, main, render
from infra.replicate.predict_inputs import (
    RUNNERS,
    InputField,
    NotPlainError,
    Output,
    read_inputs,
    read_output,
)
from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.request import GenerationRequest, request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import PROMPT_MAX_CHARACTERS
from tests.support import ROOT

SOURCE = (ROOT / "predict.py").read_text(encoding="utf-8")
INPUTS = {each.name: each for each in read_inputs(SOURCE)}
SPECS = request_fields()
DEFAULTS = {name: spec.default for name, spec in SPECS.items()}

LIMITS = {
    "duration": (0.1, 300.0),
    "extend_stride": (1.0, 29.0),
    "variations": (1, 8),
    "seed": (-1, 2**32 - 1),
    "top_k": (0, 2048),
    "top_p": (0.0, 1.0),
    "temperature": (0.0, None),
    "classifier_free_guidance": (0.0, 1000.0),
    "bpm": (30.0, 300.0),
    "style_seconds": (1.5, 4.5),
    "style_detail": (1, 6),
    "text_guidance": (0.0, 20.0),
    "beats_per_bar": (2, 12),
    "fade_in": (0.0, 30.0),
    "fade_out": (0.0, 30.0),
    "target_loudness": (-40.0, -5.0),
    "true_peak_ceiling": (-12.0, -0.1),
    "continuation_start": (0.0, None),
    "continuation_end": (-1.0, None),
}


def test_limits_are_those_that_callers_rely_on() -> None:
    """Guards a limit that is changed by mistake: every caller's copy is generated from it."""
    found = {name: (spec.low, spec.high) for name, spec in SPECS.items() if spec.low is not None}
    assert found == LIMITS
    assert SPECS["bitrate"].choices == (
        32,
        40,
        48,
        56,
        64,
        80,
        96,
        112,
        128,
        160,
        192,
        224,
        256,
        320,
    )


def test_generated_files_are_current() -> None:
    assert generate(["--check"]) == 0


def test_the_job_api_documents_every_field_of_a_request() -> None:
    properties = build_request_schema()["properties"]
    assert set(properties) == set(DEFAULTS) | set(JOB_FIELDS)
    for name, spec in SPECS.items():
        schema = properties[name]
        assert schema.get("default") == DEFAULTS[name], name
        null = [None] if spec.is_optional else []
        assert schema.get("enum") == ([*spec.choices, *null] if spec.kind == "choice" else None)
        assert (schema.get("minimum"), schema.get("maximum")) == (spec.low, spec.high), name
        assert schema["description"].startswith(spec.help)
    for name in ("prompt", "negative_prompt"):
        assert properties[name]["maxLength"] == PROMPT_MAX_CHARACTERS


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_the_example_of_a_field_uses_it(spec: FieldSpec) -> None:
    assert spec.name in spec.example
    example = dict(spec.example)
    if "input_audio" in example:
        example["input_audio"] = Path("clip.wav")
    request = GenerationRequest.from_mapping(example)
    if spec.name != "prompt":
        assert getattr(request, spec.name) != spec.default
    assert GenerationRequest.from_mapping(request.to_mapping()) == request


def test_cog_has_every_field_of_a_request_or_says_why_not() -> None:
    one_file = {"variations", "prompts", "stems", "midi"}  # one prediction answers with one file
    assert set(INPUTS) == set(DEFAULTS) - one_file | {MULTI_BAND_DIFFUSION.name}


@pytest.mark.parametrize("each", INPUTS.values(), ids=lambda each: each.name)
def test_cogs_literals_equal_the_constants_of_a_request(each: InputField) -> None:
    spec = {**SPECS, MULTI_BAND_DIFFUSION.name: MULTI_BAND_DIFFUSION}[each.name]
    bounds = {"ge": spec.low, "le": spec.high}
    expected = {name: bound for name, bound in bounds.items() if bound is not None}
    if spec.kind == "text":
        expected["max_length"] = PROMPT_MAX_CHARACTERS
    given = {k: v for k, v in each.options.items() if k in ("ge", "le", "min_length", "max_length")}
    assert given == expected
    assert each.options.get("choices") == (list(spec.choices) or None)
    default = None if each.name in ("prompt", "continuation_end") else spec.default
    assert each.options["default"] == default
    assert type(each.options["default"]) is type(default)
    assert each.nullable == (default is None)


class _Recorded:
    """In place of `CogRun`."""

    def __init__(self) -> None:
        self.arguments: Mapping[str, Any] = {}

    async def generate(self, arguments: Mapping[str, Any], _: object) -> str:
        self.arguments = arguments
        return "https://bucket.example/a.wav"

    def stream(self, arguments: Mapping[str, Any], _: object) -> Iterator[str]:
        self.arguments = arguments
        yield "/tmp/a.wav"


@pytest.mark.parametrize("name", RUNNERS)
def test_run_passes_every_input_on_under_its_own_name(name: str) -> None:
    """Guards a field that is offered and then forgotten or crossed with its neighbour."""
    predict = pytest.importorskip("predict", exc_type=ImportError)
    runner = getattr(predict, name)()
    runner.cog_run = _Recorded()
    asked = {field: f"value of {field}" for field in INPUTS}
    answer = runner.run(**asked)
    if inspect.iscoroutine(answer):
        assert asyncio.run(answer) == "https://bucket.example/a.wav", "a URL is no Path"
    else:
        assert list(answer) == [Path("/tmp/a.wav")]
    assert runner.cog_run.arguments == asked


def test_cog_answers_with_one_file_or_streams_several() -> None:
    assert read_output(SOURCE) == Output("Path", iterator=False, streaming=False)
    assert read_output(SOURCE, "StreamingRunner") == Output("Path", iterator=True, streaming=True)


def test_both_runners_have_the_same_inputs() -> None:
    assert read_inputs(SOURCE, "StreamingRunner") == read_inputs(SOURCE)
    plain, streaming = document(SOURCE), document(SOURCE, "StreamingRunner")
    schemas = streaming["components"]["schemas"]
    assert schemas.pop("Output") == {
        "title": "Output",
        "type": "array",
        "items": {"type": "string", "format": "uri"},
        "x-cog-array-type": "iterator",
    }
    del plain["components"]["schemas"]["Output"]
    assert streaming["paths"]["/predictions"]["post"].pop("x-cog-streaming") is True
    assert streaming == plain


def test_cog_does_not_fetch_what_the_schema_calls_a_file() -> None:
    """Guards `Path`: Cog would ask the address itself, whatever network it is in."""
    assert not [each.name for each in INPUTS.values() if each.type == "Path"]
    properties = document(SOURCE)["components"]["schemas"]["Input"]["properties"]
    files = [name for name, schema in properties.items() if schema.get("format") == "uri"]
    assert files == list(FILE_INPUTS) == ["input_audio"]


def test_the_licence_stands_where_a_model_is_chosen() -> None:
    assert MUSICGEN_LICENCE in INPUTS["model_version"].options["description"]


def test_every_input_is_described() -> None:
    assert all(each.options["description"] for each in INPUTS.values())


def test_the_stored_schema_is_current() -> None:
    assert SCHEMA.read_text(encoding="utf-8") == render(SOURCE)
    assert main(["--check"]) == 0


def test_the_schema_of_the_other_runner_goes_elsewhere(tmp_path: Path) -> None:
    """Guards the file of Runner, which cog.yaml names, against being overwritten."""
    asked = ["--runner", "StreamingRunner", "--output", str(tmp_path / "new" / "schema.json")]
    assert main([*asked, "--check"]) == 1
    assert main(asked) == 0
    assert main([*asked, "--check"]) == 0
    stored = json.loads((tmp_path / "new" / "schema.json").read_text())
    assert stored == document(SOURCE, "StreamingRunner")
    with pytest.raises(SystemExit):
        main(asked[:2])


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
