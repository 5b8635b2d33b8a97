"""Build the OpenAPI document from the routes, and complete it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from handlers.job_api.api.openapi.errors import add_errors, build_error_responses
from handlers.job_api.api.openapi.headers import EVERY_REPLY, HEADERS, refer_headers
from handlers.job_api.api.openapi.webhooks import build_event_schemas, build_webhooks
from musicgen import __version__

METHODS = ("get", "post", "put", "patch", "delete")
COOKIE_SCHEME = "cookie"
SECURITY: list[dict[str, list[str]]] = [{"key": []}, {COOKIE_SCHEME: []}, {}]
"""A key in a header or the page's cookie, or none where the server needs none."""
TAGS = {
    "jobs": "Submit, follow, list, keep and delete jobs.",
    "audio": "Finished clips, live audio and uploads.",
    "sound": "Make music in one call, in the shapes of other APIs.",
    "models": "Models with their licences. Meta's MusicGen weights are CC-BY-NC-4.0.",
    "service": "Sign-in of the web page.",
    "webhooks": "Calls of this server to the `webhook_url` of a job.",
}
"""Description of each tag."""
DESCRIPTION = """Music from text. `POST /v1/generate`, then `GET /v1/status/{job_id}` until it is
completed, then `GET /v1/audio/{job_id}.wav`. These three also work without `/v1`. `HEAD` answers
like `GET`.

Within `/v1`, calls, fields and values may be added; none is removed or changes its meaning.

The server is under Apache-2.0. Models have licences of their own, and `GET /v1/models` names them:
Meta's MusicGen weights are CC-BY-NC-4.0, not for commercial use."""
_LICENCE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SERVERS = [{"url": "/", "description": "The server of this document"}]


def install_document(app: FastAPI, cookie: str) -> None:
    """Answer `GET /openapi.json` with the completed document. `cookie`: of the page's sign-in."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build_document(app, cookie)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def build_document(app: FastAPI, cookie: str) -> dict[str, Any]:
    """Return the document of an application's routes."""
    document = get_openapi(
        title=app.title,
        version=__version__,
        description=DESCRIPTION,
        routes=app.routes,
        license_info=_LICENCE,
        servers=_SERVERS,
    )
    components = document["components"]
    components["schemas"] |= build_event_schemas()
    _name_schemas(document["paths"], components["schemas"])
    for schema in list(components["schemas"].values()):
        _name_schemas(schema.get("properties"), components["schemas"])
    stored = components["schemas"]["Status"]["properties"]["request"]
    components["schemas"]["Status"]["properties"]["request"] = {
        "$ref": "#/components/schemas/GenerationRequest",
        "description": stored["description"],
    }
    _drop_titles(document)
    for method, operation in list_operations(document):
        _complete_operation(operation, method)
    document["webhooks"] = build_webhooks()
    document["security"] = SECURITY
    components["responses"] = build_error_responses()
    components["headers"] = HEADERS
    components["securitySchemes"][COOKIE_SCHEME] = {
        "type": "apiKey",
        "in": "cookie",
        "name": cookie,
        "description": "The web page's sign-in: `POST /session` sets the cookie.",
    }
    _drop_unused(document)
    used = {tag for _, operation in list_operations(document) for tag in operation["tags"]}
    document["tags"] = [
        {"name": name, "description": text}
        for name, text in TAGS.items()
        if name in used or name == "webhooks"
    ]
    return document


def list_operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield method and operation of each path."""
    for item in document["paths"].values():
        for method in METHODS:
            if method in item:
                yield method, item[method]


def _complete_operation(operation: dict[str, Any], method: str) -> None:
    """Add what is the same for all operations: summary, security, errors and headers."""
    # FastAPI's summary is the name of the function.
    first, *_ = operation["description"].split("\n\n")
    operation["summary"] = " ".join(first.split()).removesuffix(".")
    # Each of them has the document's own security, or none.
    if operation.pop("security", None) is None:
        operation["security"] = []
    add_errors(operation, has_effect=method != "get")
    for response in operation["responses"].values():
        if EVERY_REPLY and "$ref" not in response:
            response["headers"] = response.get("headers", {}) | refer_headers(*EVERY_REPLY)


def _drop_titles(document: dict[str, Any]) -> None:
    """Drop the titles that are made of a name beside them: some generators call types by them."""
    for schema in document["components"]["schemas"].values():
        for field in schema.get("properties", {}).values():
            field.pop("title", None)
    for _, operation in list_operations(document):
        for parameter in operation.get("parameters", ()):
            parameter["schema"].pop("title", None)
        for response in operation["responses"].values():
            for media in response.get("content", {}).values():
                media.get("schema", {}).pop("title", None)


def _name_schemas(node: Any, schemas: dict[str, Any]) -> None:
    """Move objects with a title to the document's schemas, and refer to them."""
    children: Iterator[Any] = iter(())
    if isinstance(node, dict):
        children = iter(list(node.items()))
    elif isinstance(node, list):
        children = iter(list(enumerate(node)))
    for key, child in children:
        _name_schemas(child, schemas)
        if isinstance(child, dict) and "properties" in child and "title" in child:
            schemas[child["title"]] = child
            node[key] = {"$ref": f"#/components/schemas/{child['title']}"}


def _drop_unused(document: dict[str, Any]) -> None:
    """Delete components without a reference, also those that only deleted ones refer to."""
    components = document["components"]
    sections = ("schemas", "responses", "headers")
    found: set[str] = set()
    waiting = [*document["paths"].values(), *document["webhooks"].values()]
    while waiting:
        for reference in _list_references(waiting.pop()):
            if reference not in found:
                found.add(reference)
                _, _, section, name = reference.split("/", 3)
                waiting.append(components[section][name])
    for section in sections:
        components[section] = {
            name: value
            for name, value in sorted(components[section].items())
            if f"#/components/{section}/{name}" in found
        }


def _list_references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _list_references(child)
