"""Fields that FastAPI refuses have reasons too, so a page in German shows no English."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic_core import core_schema

from handlers.job_api.api.field_reasons import find_field_reason
from handlers.job_api.api.openapi.file import render
from tests.support.job_server import JobServer, data_folder, job_server


@pytest.fixture(scope="module")
def api() -> Iterator[JobServer]:
    with data_folder() as folder, job_server(folder, "api") as server:
        yield server


@pytest.mark.parametrize(
    ("path", "query", "message", "reason", "values"),
    [
        ("/v1/jobs", {"limit": 0}, "limit must be a number of at least 1.", "number_from",
         {"low": 1, "rest": ""}),
        ("/v1/jobs", {"limit": 101}, "limit must be a number of at most 100.", "number_to",
         {"high": 100}),
        ("/v1/jobs", {"limit": "x"}, "limit must be a whole number.", "wrong_kind",
         {"kind": "a whole number"}),
        ("/v1/jobs", {"limit": "1.5"}, "limit must be a whole number.", "wrong_kind", None),
        ("/v1/jobs", {"favourite": "x"}, "favourite must be true or false.", "wrong_kind", None),
        ("/v1/jobs", {"search": "x" * 5000}, "search must have at most", "text_too_long", None),
        ("/v1/jobs/zip", {"id": ["x"] * 5000}, "id must have at most", "too_many_entries", None),
        ("/v1/jobs/zip", {}, "id is missing.", "missing", {}),
        ("/v1/estimate", {"decoder": "x"}, "decoder must be one of", "choice", None),
    ],
)  # fmt: skip
def test_a_refused_field_has_a_reason(
    api: JobServer,
    path: str,
    query: dict[str, Any],
    message: str,
    reason: str,
    values: dict[str, Any] | None,
) -> None:
    answer = api.http.get(path, params=query)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "invalid_request")
    assert error["message"].startswith(message)
    assert error["reason"] == reason and (values is None or error["values"] == values)


@pytest.mark.parametrize(
    ("body", "field", "message", "reason"),
    [
        ("", "body", "body is missing.", "missing"),
        ("{", "body", "body must be a JSON object, sent with", "not_an_object"),
        ("[]", "body", "body must be a JSON object, sent with", "not_an_object"),
        ('{"nme": "x"}', "nme", "nme is not a field of this call.", "unknown_name"),
        ('{"name": 1}', "name", "name must be text.", "wrong_kind"),
        ('{"name": []}', "name", "name must be text.", "wrong_kind"),
        ('{"name": "\\ud800"}', "name", "name must be text without", "wrong_kind"),
        ('{"favourite": "yes"}', "favourite", "favourite must be true or false.", "wrong_kind"),
    ],
)
def test_a_refused_body_has_a_reason(
    api: JobServer, body: str, field: str, message: str, reason: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = api.http.patch(f"/v1/jobs/{'0' * 32}", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["field"]) == (422, "invalid_request", field)
    assert error["message"].startswith(message) and error["reason"] == reason


def test_a_number_of_too_many_digits_has_a_reason(api: JobServer) -> None:
    error = api.http.get("/v1/jobs", params={"limit": "9" * 5000}).json()["error"]
    assert (error["field"], error["reason"]) == ("limit", "wrong_kind")
    assert error["message"] == "limit must be a whole number of fewer digits."


ERRORS_OF_KEYWORDS = {
    "additionalProperties": ("extra_forbidden",),
    "const": ("literal_error",),
    "enum": ("literal_error",),
    "exclusiveMaximum": ("less_than",),
    "exclusiveMinimum": ("greater_than",),
    "maximum": ("less_than_equal",),
    "maxItems": ("too_long",),
    "maxLength": ("string_too_long",),
    "minimum": ("greater_than_equal",),
    "minItems": ("too_short",),
    "minLength": ("string_too_short",),
    "multipleOf": ("multiple_of",),
    "pattern": ("string_pattern_mismatch",),
    "required": ("missing",),
}
ERRORS_OF_TYPES = {
    "array": ("list_type",),
    "boolean": ("bool_type", "bool_parsing"),
    "integer": ("int_type", "int_parsing", "int_parsing_size", "int_from_float"),
    "null": (),
    "number": ("float_type", "float_parsing", "finite_number"),
    "object": ("model_attributes_type", "json_invalid", "missing"),
    "string": ("string_type", "string_unicode"),
}
VALUES = {"ge": 1, "le": 2, "expected": "'x'", "max_length": 3}


def find_errors(schema: object, document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the types of errors that values of a JSON Schema can have."""
    if isinstance(schema, list):
        for part in schema:
            yield from find_errors(part, document)
    if not isinstance(schema, dict):
        return
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        yield from find_errors(document["components"]["schemas"][name], document)
    if isinstance(kind := schema.get("type"), str):
        yield from ERRORS_OF_TYPES[kind]
    for keyword, value in schema.items():
        yield from ERRORS_OF_KEYWORDS.get(keyword, ())
        if keyword == "properties":
            yield from find_errors(list(value.values()), document)
        elif keyword in ("items", "anyOf", "allOf", "oneOf"):
            yield from find_errors(value, document)


def find_possible_errors() -> set[str]:
    """Return the types of errors that pydantic can raise in a call of the API."""
    document = json.loads(render())
    found: set[str] = set()
    methods = [method for path in document["paths"].values() for method in path.values()]
    for method in methods:
        for parameter in method.get("parameters", []):
            found |= {*find_errors(parameter["schema"], document)}
            found |= {"missing"} if parameter.get("required") else set()
        for media in method.get("requestBody", {}).get("content", {}).values():
            # The other bodies are no models of pydantic: `musicgen.request` reads them.
            if re.search("JobPatch|SignIn", str(media["schema"])):
                found |= {*find_errors(media["schema"], document)}
    return found


def test_each_error_that_a_call_can_have_has_a_reason() -> None:
    possible = find_possible_errors()
    assert len(possible) > 15 and {"extra_forbidden", "int_parsing_size", "too_short"} <= possible
    assert possible <= {*typing.get_args(core_schema.ErrorType)}, "pydantic has renamed some"
    found = {kind: find_field_reason({"type": kind, "ctx": VALUES}) for kind in possible}
    assert [kind for kind, reason in found.items() if reason is None] == []


def test_no_text_is_that_of_pydantic() -> None:
    """Its "Input should be" speaks to programmers, in words that no page of ours explains."""
    for kind in find_possible_errors():
        assert "input should" not in str(find_field_reason({"type": kind, "ctx": VALUES})).lower()
