"""Limits, defaults and choices that a platform has to spell out equal those of the package."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from handlers.job_api.api.request_schema import generate_schema
from infra.replicate.openapi_schema import FILE_INPUTS, SCHEMA, document, main, rendered
from infra.replicate.predict_inputs import (
    RUNNERS,
    InputField,
    NotPlainError,
    Output,
    read_inputs,
    read_output,
)
from musicgen.catalog import CATALOG, MUSICGEN_LICENCE
from musicgen.errors import InvalidRequest
from musicgen.request import GenerationRequest, request
from musicgen.request import postprocessing as finish
from tests.support import ROOT

SOURCE = (ROOT / "predict.py").read_text(encoding="utf-8")
INPUTS = {each.name: each for each in read_inputs(SOURCE)}
DEFAULTS = {each.name: each.default for each in fields(GenerationRequest)}

# Fields that Cog's callers do not have, each with the reason.
ONE_FILE = "one prediction answers with one file"
LEFT_OUT_OF_COG = {"variations": ONE_FILE, "prompts": ONE_FILE}
# None of these has an upper bound but for what the model can do.
BOUNDS: dict[str, dict[str, float]] = {
    "prompt": {"max_length": request.PROMPT_MAX_CHARACTERS},
    "negative_prompt": {"max_length": request.PROMPT_MAX_CHARACTERS},
    "extend_stride": {"ge": request.STRIDE_MIN_SECONDS, "le": request.STRIDE_MAX_SECONDS},
    "bpm": {"ge": finish.BPM_MIN, "le": finish.BPM_MAX},
    "beats_per_bar": {"ge": finish.BEATS_MIN, "le": finish.BEATS_MAX},
    "fade_in": {"ge": 0.0, "le": finish.FADE_MAX_SECONDS},
    "fade_out": {"ge": 0.0, "le": finish.FADE_MAX_SECONDS},
    "target_loudness": {"ge": finish.LOUDNESS_MIN_LUFS, "le": finish.LOUDNESS_MAX_LUFS},
    "duration": {"ge": request.DURATION_MIN_SECONDS, "le": request.DURATION_MAX_SECONDS},
    "continuation_start": {"ge": 0.0},
    "continuation_end": {"ge": request.CONTINUATION_TO_THE_END},
    "top_k": {"ge": 0, "le": request.TOP_K_MAX},
    "top_p": {"ge": 0.0, "le": 1.0},
    "temperature": {"ge": 0.0},
    "classifier_free_guidance": {"ge": 1.0},
    "seed": {"ge": request.RANDOM_SEED, "le": request.SEED_MAX},
}
CHOICES = {
    "model_version": list(CATALOG),
    "normalization_strategy": list(request.NORMALIZATION_STRATEGIES),
    "output_format": list(request.OUTPUT_FORMATS),
    "bit_depth": list(request.BIT_DEPTHS),
    "sample_rate": list(finish.SAMPLE_RATES),
    "bitrate": list(finish.BITRATES),
}


OF_THE_JOB_API = {"priority", "webhook_url"}
API_BOUNDS: dict[str, dict[str, float]] = {
    "prompt": {"maxLength": request.PROMPT_MAX_CHARACTERS},
    "negative_prompt": {"maxLength": request.PROMPT_MAX_CHARACTERS},
    "variations": {"minimum": 1, "maximum": request.VARIATIONS_MAX},
}
_NAMES = {"ge": "minimum", "le": "maximum"}


def test_the_job_api_documents_every_field_of_a_request() -> None:
    properties = generate_schema()["properties"]
    assert set(properties) == set(DEFAULTS) | OF_THE_JOB_API
    for name, default in DEFAULTS.items():
        assert properties[name].get("default") == default, name
        assert properties[name].get("enum") == (
            CHOICES.get(name) if name != "model_version" else None
        )
        bounds = {
            k: v for k, v in properties[name].items() if k in ("minimum", "maximum", "maxLength")
        }
        wanted = {_NAMES[k]: v for k, v in BOUNDS.get(name, {}).items() if k in _NAMES}
        assert bounds == API_BOUNDS.get(name, wanted), name


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


class _Recorded:
    """In place of `CogRun`."""

    def __init__(self) -> None:
        self.arguments: Mapping[str, Any] = {}

    async def one(self, arguments: Mapping[str, Any], _: object) -> str:
        self.arguments = arguments
        return "https://bucket.example/a.wav"

    def pieces(self, arguments: Mapping[str, Any], _: object) -> Iterator[str]:
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
    assert SCHEMA.read_text(encoding="utf-8") == rendered(SOURCE)
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
