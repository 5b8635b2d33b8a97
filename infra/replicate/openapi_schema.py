"""Write .cog/openapi_schema.json, the schema of the inputs in Cog's server.

    python -m infra.replicate.openapi_schema            # write it after a change of predict.py
    python -m infra.replicate.openapi_schema --check    # fail if it is out of date
    python -m infra.replicate.openapi_schema --runner StreamingRunner --output FILE

Like `cog build`, it derives the schema from the text of predict.py without running it. So the tests
of Cog's server need no Cog command line. To ship this file, run
COG_OPENAPI_SCHEMA=.cog/openapi_schema.json cog push. The schema follows Cog 0.23
(pkg/schema/openapi_spec.go of replicate/cog).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.replicate.predict_inputs import (
    BOUNDS,
    RUNNERS,
    InputField,
    Output,
    read_inputs,
    read_output,
)

ROOT = Path(__file__).resolve().parents[2]
PREDICT = ROOT / "predict.py"
SCHEMA = ROOT / ".cog" / "openapi_schema.json"
COG_VERSION = "0.23.1"

_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "Path": {"type": "string", "format": "uri"},
}
FILE_INPUTS = ("input_audio",)
"""Inputs with the type str in predict.py, so Cog does not download them, but files in the schema:
Replicate's page then offers an upload. Cog's server uses the type in predict.py alone."""
_KEYWORDS = {
    "default": "default",
    "description": "description",
    "ge": "minimum",
    "le": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
}


def document(source: str, runner: str = "Runner") -> dict[str, Any]:
    """Return the OpenAPI document of the text of predict.py. Raises: `NotPlainError`."""
    fields, output = read_inputs(source, runner), read_output(source, runner)
    components = {
        "Input": _input_schema(fields),
        "Output": _output_schema(output),
        **{each.name: _choices_schema(each) for each in fields if "choices" in each.options},
        **{_name_nullable(each): _nullable_schema(each) for each in fields if each.nullable},
        **_envelope_schemas(),
    }
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": COG_VERSION},
        "paths": _paths(output.streaming),
        "components": {"schemas": components},
    }


def render(source: str, runner: str = "Runner") -> str:
    """Return the content of .cog/openapi_schema.json."""
    return json.dumps(document(source, runner), indent=2) + "\n"


def _output_schema(output: Output) -> dict[str, Any]:
    if not output.iterator:
        return {**_TYPES[output.type], "title": "Output"}
    items = _array(_TYPES[output.type])
    return {"title": "Output", **items, "x-cog-array-type": "iterator"}


def _input_schema(fields: Sequence[InputField]) -> dict[str, Any]:
    required = [each.name for each in fields if "default" not in each.options]
    return {
        "type": "object",
        "title": "Input",
        **({"required": required} if required else {}),
        "properties": {each.name: _property(order, each) for order, each in enumerate(fields)},
    }


def _property(order: int, each: InputField) -> dict[str, Any]:
    options = each.options
    if "choices" in options:
        schema: dict[str, Any] = {"allOf": [_reference(each.name)]}
    else:
        kind = "Path" if each.name in FILE_INPUTS else each.type
        schema = {"title": _title(each.name), **_TYPES[kind]}
    schema["x-order"] = order
    if each.nullable:
        schema |= {"nullable": True, **_reference(_name_nullable(each))}
    for option, keyword in _KEYWORDS.items():
        if option in options:
            schema[keyword] = options[option]
    return schema


def _name_nullable(each: InputField) -> str:
    return f"{each.name}_or_null"


def _nullable_schema(each: InputField) -> dict[str, Any]:
    """Return the schema for the check of an input that may be null.

    Cog's server knows no `nullable` and refuses an explicit null. It checks what a `$ref` names in
    place of the property, and pages read the property itself.
    """
    options, title = each.options, {"title": _name_nullable(each)}
    if "choices" in options:
        return {**title, "enum": [*options["choices"], None]}
    kind = _TYPES["Path" if each.name in FILE_INPUTS else each.type]
    # Bounds hold for values other than null; outside of anyOf their errors name them.
    bounds = {_KEYWORDS[name]: options[name] for name in BOUNDS if name in options}
    return {**title, "anyOf": [kind, {"type": "null"}], **bounds}


def _choices_schema(each: InputField) -> dict[str, Any]:
    return {
        "title": each.name,
        "description": "An enumeration.",
        "enum": each.options["choices"],
        **_TYPES[each.type],
    }


def _envelope_schemas() -> dict[str, Any]:
    """Return the schemas around input and output, the same for every model."""
    text = {"type": "string"}
    moment = {"type": "string", "format": "date-time"}
    response = {
        "input": _reference("Input"),
        "output": _reference("Output"),
        **{name: _set_title(name, text) for name in ("id", "version", "status", "error", "logs")},
        **{name: _set_title(name, moment) for name in ("created_at", "started_at", "completed_at")},
        "metrics": _set_title("metrics", {"type": "object"}),
    }
    place = {"anyOf": [text, {"type": "integer"}]}
    return {
        "PredictionRequest": _object(
            "PredictionRequest", {"id": _set_title("id", text), "input": _reference("Input")}
        ),
        "PredictionResponse": _object("PredictionResponse", response),
        "Status": {
            "title": "Status",
            "description": "An enumeration.",
            "enum": ["starting", "processing", "succeeded", "canceled", "failed"],
            "type": "string",
        },
        "HTTPValidationError": _object(
            "HTTPValidationError",
            {"detail": {"title": "Detail", **_array(_reference("ValidationError"))}},
        ),
        "ValidationError": {
            **_object(
                "ValidationError",
                {
                    "loc": {"title": "Location", **_array(place)},
                    "msg": {"title": "Message", **text},
                    "type": {"title": "Error Type", **text},
                },
            ),
            "required": ["loc", "msg", "type"],
        },
    }


def _paths(streaming: bool) -> dict[str, Any]:
    anything = _answer("Successful Response", {})
    invalid = _answer("Validation Error", _reference("HTTPValidationError"))
    predicted = _answer("Successful Response", _reference("PredictionResponse"))
    identifier = {
        "name": "prediction_id",
        "in": "path",
        "required": True,
        "schema": {"title": "Prediction Id", "type": "string"},
    }
    predict = _operation("Predict", "predict_predictions_post", {"200": predicted, "422": invalid})
    predict["description"] = "Run a single prediction on the model"
    predict["requestBody"] = _content(_reference("PredictionRequest"))
    if streaming:
        predict["x-cog-streaming"] = True
    cancel_id = "cancel_predictions__prediction_id__cancel_post"
    cancel = _operation("Cancel", cancel_id, {"200": anything, "422": invalid})
    cancel["parameters"] = [identifier]
    health_id = "healthcheck_health_check_get"
    return {
        "/": {"get": _operation("Root", "root__get", {"200": anything})},
        "/health-check": {"get": _operation("Healthcheck", health_id, {"200": anything})},
        "/predictions": {"post": predict},
        "/predictions/{prediction_id}/cancel": {"post": cancel},
    }


def _operation(summary: str, name: str, responses: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "operationId": name, "responses": responses}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, **_content(schema)}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _object(title: str, properties: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "type": "object", "properties": properties}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _set_title(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"title": _title(name), **schema}


def _title(name: str) -> str:
    return " ".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description="Cog's input schema from predict.py")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if it changed")
    parser.add_argument("--runner", choices=RUNNERS, default="Runner")
    parser.add_argument("--output", type=Path, default=SCHEMA, metavar="FILE")
    options = parser.parse_args(arguments)
    if options.runner != "Runner" and options.output == SCHEMA:
        parser.error(f"{SCHEMA} is that of Runner, which cog.yaml names: give an --output")
    current = render(PREDICT.read_text(encoding="utf-8"), options.runner)
    file: Path = options.output
    if not options.check:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(current, encoding="utf-8")
        return 0
    if file.is_file() and file.read_text(encoding="utf-8") == current:
        return 0
    sys.stderr.write(f"{file} is not current: run python -m infra.replicate.openapi_schema\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
