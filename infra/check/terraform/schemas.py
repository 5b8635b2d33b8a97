"""Hold resources, data sources and providers against the providers' own schemas.

`schemas.json` has the types in use; `infra/terraform/extract.py` writes it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from infra.check.terraform.expressions import is_expression
from infra.check.terraform.modules import FOLDER, IS_BLOCK, HclBlock, Module, unquote

FILE = FOLDER / "schemas.json"
Fields = Mapping[str, Mapping[str, Any]]
META = {
    "resource": {"count", "for_each", "depends_on", "lifecycle", "provider"},
    "data": {"count", "for_each", "depends_on", "lifecycle", "provider"},
    "provider": {"alias"},
}
AS_BLOCKS = {"aws_route_table": ("route",)}
"""Arguments with objects that the provider also takes as blocks."""
_LIFECYCLE = {
    *("create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by"),
    *("precondition", "postcondition"),
}


@cache
def read_schemas() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the content of the file."""
    content: dict[str, dict[str, dict[str, Any]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return content


def check_schemas(module: Module) -> Iterator[str]:
    """Yield unknown types, unknown and missing arguments, and values of a wrong type."""
    schemas = read_schemas()
    for block in module.blocks:
        if block.kind not in META:
            continue
        schema = schemas.get(block.kind, {}).get(block.labels[0])
        if schema is None:
            yield (
                f"{block.file}: {block.address}: schemas.json has no such type. "
                "Run infra/terraform/extract.py, or correct the name."
            )
            continue
        meta = META[block.kind]
        body = {name: value for name, value in block.body.items() if name not in meta}
        fields = dict(schema["fields"])
        for name in AS_BLOCKS.get(block.labels[0], ()):
            fields[name] = {"block": fields[name]["object"]}
        yield from _check_body(f"{block.file}: {block.address}", body, fields)
        for lifecycle in block.body.get("lifecycle", []):
            yield from _check_lifecycle(block, lifecycle, schema["fields"])


def check_versions(module: Module) -> Iterator[str]:
    """Yield providers without a version, and versions other than that of the schemas."""
    known = read_schemas()["providers"]
    required: dict[str, Any] = {}
    for block in module.select("terraform"):
        for providers in block.body.get("required_providers", []):
            required |= {k: v for k, v in providers.items() if k != IS_BLOCK}
    used = {b.labels[0].partition("_")[0] for b in module.blocks if b.kind in META}
    for name in sorted(used - required.keys()):
        yield f"required_providers lacks {name}"
    for name in sorted(required.keys() - used):
        yield f"required_providers has {name}, which nothing uses"
    for name in sorted(used & required.keys()):
        source = unquote(required[name].get("source", ""))
        version = unquote(required[name].get("version", ""))
        about = known.get(name, {})
        if source != about.get("source"):
            yield f"required_providers: {name}: source {source} is not {about.get('source')}"
        found = re.fullmatch(r"~> (\d+)\.(\d+)", version)
        own = [int(part) for part in about.get("version", "0.0").split(".")[:2]]
        if not found or int(found[1]) != own[0] or int(found[2]) > own[1]:
            yield (
                f"required_providers: {name}: version {version!r} does not allow "
                f"{about.get('version')}, that of schemas.json"
            )


def _check_lifecycle(
    block: HclBlock, lifecycle: Mapping[str, Any], fields: Fields
) -> Iterator[str]:
    for name in lifecycle.keys() - _LIFECYCLE - {IS_BLOCK}:
        yield f"{block.file}: {block.address}: lifecycle has no argument {name}"
    changes = lifecycle.get("ignore_changes", [])
    for text in changes if isinstance(changes, list) else []:
        name = re.split(r"[.\[]", text.removeprefix("${").removesuffix("}"))[0]
        if name not in fields:
            yield f"{block.file}: {block.address}: ignore_changes names {name}, no argument"


def _check_body(place: str, body: Mapping[str, Any], fields: Fields) -> Iterator[str]:
    """Check one body with its nested blocks."""
    given = _merge_dynamic(body)
    for name in given.keys() - fields.keys():
        yield f"{place}: no argument or block is named {name}"
    for name, field in fields.items():
        if name not in given:
            if field.get("required"):
                yield f"{place}: {name} is missing"
            continue
        yield from _check_field(f"{place}.{name}", given[name], field)


def _merge_dynamic(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body with the content of its dynamic blocks as blocks."""
    given: dict[str, Any] = {}
    for name, value in body.items():
        if name != "dynamic" and name != IS_BLOCK:
            given[unquote(name)] = value
    for entry in body.get("dynamic", []):
        for label, inner in entry.items():
            if label != IS_BLOCK:
                given[unquote(label)] = [*given.get(unquote(label), []), *inner["content"]]
    return given


def _check_field(place: str, value: Any, field: Mapping[str, Any]) -> Iterator[str]:
    is_block = isinstance(value, list) and any(
        isinstance(item, dict) and IS_BLOCK in item for item in value
    )
    if "block" in field:
        if not is_block:
            yield f"{place}: is a block, written without ="
            return
        if field.get("single") and len(value) > 1:
            yield f"{place}: may be given once"
        for item in value:
            yield from _check_body(place, item, field["block"])
    elif is_block:
        yield f"{place}: is an argument, written with ="
    elif "object" in field:
        items = [value] if field.get("single") else value
        for item in items if isinstance(items, list) else []:
            if isinstance(item, dict):
                yield from _check_body(place, item, field["object"])
    elif problem := _check_type(value, field["type"]):
        yield f"{place}: {problem}"


def _check_type(value: Any, kind: str) -> str | None:
    """Return the problem of a literal, or None. HCL converts numbers and booleans from texts."""
    if is_expression(value) or kind == "any" or value is None:
        return None
    text = unquote(str(value))
    if kind.startswith("list("):
        is_fine = isinstance(value, list)
    elif kind.startswith("map("):
        is_fine = isinstance(value, dict)
    elif isinstance(value, (list, dict)):
        is_fine = False
    elif kind == "number":
        is_fine = re.fullmatch(r"-?\d+(\.\d+)?", text) is not None
    else:
        is_fine = kind != "bool" or text.lower() in ("true", "false")
    return None if is_fine else f"{value!r} is not of the type {kind}"
