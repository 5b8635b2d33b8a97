"""Rules for every operation of the OpenAPI document, also for those that come later."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from handlers.job_api.api.openapi.document import METHODS, TAGS
from handlers.job_api.api.openapi.file import render
from handlers.job_api.api.request_schema import JOB_FIELDS
from musicgen.request import request_fields
from tests.support import ROOT

DOCUMENT: dict[str, Any] = json.loads(render())
COMPONENTS = DOCUMENT["components"]
OPERATIONS = {
    f"{method.upper()} {path}": item[method]
    for path, item in {**DOCUMENT["paths"], **DOCUMENT["webhooks"]}.items()
    for method in METHODS
    if method in item
}
ROUTES = {name: call for name, call in OPERATIONS.items() if name.split(" ")[1].startswith("/")}


def _walk(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, node
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _walk(child, f"{path}/{key}")


def _resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        _, _, section, name = node["$ref"].split("/")
        node = COMPONENTS[section][name]
    return node


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    whole = {"components": COMPONENTS, "$ref": "#/schema", "schema": schema}
    return jsonschema.Draft202012Validator(whole)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_what_generators_read(name: str) -> None:
    operation = OPERATIONS[name]
    # A person's words: not the path once more, as in status_v1_status__job_id__get.
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation["operationId"])
    assert not operation["operationId"].endswith(("_get", "_post", "_put", "_patch", "_delete"))
    assert 5 < len(operation["summary"]) < 100 and not operation["summary"].endswith(".")
    assert operation["description"]
    assert len(operation["tags"]) == 1 and operation["tags"][0] in TAGS
    for parameter in operation.get("parameters", ()):
        assert parameter["schema"] and "title" not in parameter["schema"]


def test_operation_ids_are_unique() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(ids) == len(set(ids)) > 12
    expected = {
        *("generate", "get_status", "list_jobs", "cancel_job", "stream_events", "get_audio"),
        *("stream_audio", "upload_sound", "list_models", "load_model", "receive_job_event"),
    }
    assert expected <= set(ids)


@pytest.mark.parametrize("name", ROUTES)
def test_errors_of_an_operation_are_documented(name: str) -> None:
    operation = ROUTES[name]
    expected = {"429", "500", "503"}
    expected |= {"401"} if operation.get("security") != [] else set()
    expected |= {"403"} if not name.startswith("GET") else set()
    expected |= {"408", "413"} if "requestBody" in operation else set()
    assert expected <= set(operation["responses"])
    for status, response in operation["responses"].items():
        is_error = int(status) >= 400
        # One response for each status, with one schema.
        assert ("$ref" in response) == is_error, status
        content = _resolve(response).get("content", {})
        if is_error:
            schema = content["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ErrorReply"}
            assert list(content) == ["application/json"]
    assert any(int(status) < 300 for status in operation["responses"])


@pytest.mark.parametrize("name", OPERATIONS)
def test_bodies_have_named_schemas(name: str) -> None:
    operation = OPERATIONS[name]
    bodies = [operation.get("requestBody", {}), *map(_resolve, operation["responses"].values())]
    for body in bodies:
        for media, content in body.get("content", {}).items():
            schema = content["schema"]
            if "json" in media:
                assert schema.get("$ref"), f"{media} has no named schema"
            else:
                schema = schema["anyOf"][-1] if media == "text/event-stream" else schema
                assert schema["type"] == "string", f"{media} has no schema"


@pytest.mark.parametrize("name", ROUTES)
def test_a_reply_with_sound_can_be_had_as_bytes(name: str) -> None:
    """openapi-python-client drops audio/..., and keeps application/octet-stream."""
    for response in map(_resolve, ROUTES[name]["responses"].values()):
        kinds = set(response.get("content", {}))
        if any(kind.startswith("audio/") for kind in kinds):
            assert "application/octet-stream" in kinds


def test_objects_in_schemas_are_named() -> None:
    for path, node in _walk(COMPONENTS["schemas"]):
        if path.count("/") > 1 and isinstance(node, dict) and node.get("type") == "object":
            assert "properties" not in node, f"{path} is an object without a name"


def test_every_reference_exists_and_every_component_is_used() -> None:
    found = {
        node["$ref"] for _, node in _walk(DOCUMENT) if isinstance(node, dict) and "$ref" in node
    }
    known = {
        f"#/components/{section}/{name}"
        for section in ("schemas", "responses", "headers")
        for name in COMPONENTS[section]
    }
    assert found == known


def test_the_request_refuses_what_the_server_refuses() -> None:
    schema = COMPONENTS["schemas"]["GenerationRequest"]
    assert set(schema["properties"]) == {*request_fields(), *JOB_FIELDS}
    validator = _validator({"$ref": "#/components/schemas/GenerationRequest"})
    assert validator.is_valid({"prompt": "x", "seed": None, "sample_rate": None})
    for odd in ({"promt": "x"}, {"duration": 900}, {"sections": [{"prompt": "x"}]}, {"loop": 1}):
        assert not validator.is_valid(odd), odd
    job = OPERATIONS["POST /v1/generate"]["requestBody"]["content"]["application/json"]["schema"]
    assert job == {"$ref": "#/components/schemas/GenerationRequest"}


def test_every_example_fits_its_schema() -> None:
    count = 0
    for path, node in _walk(DOCUMENT):
        if not isinstance(node, dict):
            continue
        schema = node.get("schema", node)
        examples = [node["example"]] if "example" in node else []
        if isinstance(node.get("examples"), list):
            examples += node["examples"]
        for example in examples:
            errors = [error.message for error in _validator(schema).iter_errors(example)]
            assert not errors, (path, errors)
            count += 1
    assert count > 10


def test_texts_have_formats() -> None:
    for path, node in _walk(COMPONENTS["schemas"]):
        name = path.rpartition("/")[2]
        if "/properties/" in path and isinstance(node, dict):
            text = json.dumps(node)
            if name.endswith("_at"):
                assert '"format": "date-time"' in text, path
            if name.endswith(("url", "urls")):
                assert '"format": "uri' in text, path


def test_webhooks_describe_deliveries() -> None:
    call = DOCUMENT["webhooks"]["job_finished"]["post"]
    headers = {header["name"]: header["required"] for header in call["parameters"]}
    assert headers == {"webhook-id": True, "webhook-timestamp": True, "webhook-signature": False}
    kinds = COMPONENTS["schemas"]["JobEvent"]["properties"]["type"]["enum"]
    assert kinds == ["job.cancelled", "job.completed", "job.failed"]


def test_the_document_names_its_licence_servers_and_tags() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert DOCUMENT["info"]["license"]["identifier"] == "Apache-2.0"
    assert "CC-BY-NC-4.0" in DOCUMENT["info"]["description"]
    assert DOCUMENT["servers"][0]["url"] == "/"
    assert COMPONENTS["securitySchemes"]["key"]["scheme"] == "bearer"
    assert COMPONENTS["securitySchemes"]["cookie"]["name"] == "musicgen_key"
    described = {tag["name"] for tag in DOCUMENT["tags"] if tag["description"]}
    assert described == {tag for call in OPERATIONS.values() for tag in call["tags"]}


def test_the_committed_document_is_current() -> None:
    text = (ROOT / "docs" / "openapi.json").read_text(encoding="utf-8")
    assert text == render(), "run python -m infra.generate"


def test_making_the_document_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    render()
    assert not list(tmp_path.iterdir())
