"""Checks of variables and outputs: a description, a type, and a default of that type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.check.terraform.expressions import find_references
from infra.check.terraform.modules import HclBlock, Module, unquote

_ARGUMENTS = {
    "variable": {
        *("description", "type", "default", "validation", "sensitive", "nullable", "ephemeral"),
    },
    "output": {"description", "value", "sensitive", "depends_on", "precondition", "ephemeral"},
}
_SECRET = re.compile(r"password|secret|token|database_url")


def check_variables(module: Module) -> Iterator[str]:
    """Yield variables and outputs without a description or type, and defaults of another type."""
    for kind, known in _ARGUMENTS.items():
        for block in module.select(kind):
            place = f"{block.file}: {kind} {block.labels[0]}"
            for name in sorted(block.body.keys() - known - {"__is_block__"}):
                yield f"{place}: no argument is named {name}"
            if not unquote(str(block.body.get("description", ""))):
                yield f"{place}: has no description"
            if kind == "output" and "value" not in block.body:
                yield f"{place}: has no value"
            if kind == "variable":
                yield from (f"{place}: {problem}" for problem in _check_variable(block))
    for block in module.select("output"):
        if not block.body.get("sensitive") and _has_secret(block, module):
            yield f"{block.file}: output {block.labels[0]}: shows a secret; set sensitive"


def _check_variable(block: HclBlock) -> Iterator[str]:
    kind = str(block.body.get("type", "")).removeprefix("${").removesuffix("}")
    if not kind:
        yield "has no type"
    elif "default" in block.body and not _has_type(block.body["default"], kind):
        yield f"its default {block.body['default']!r} is not of the type {kind}"
    for rule in block.body.get("validation", []):
        if missing := {"condition", "error_message"} - rule.keys():
            yield f"its validation lacks {', '.join(sorted(missing))}"
        elif f"var.{block.labels[0]}" not in str(rule["condition"]):
            yield "its validation does not look at it"
    if _SECRET.search(block.labels[0]) and not block.body.get("sensitive"):
        yield "is a secret; set sensitive"


def _has_type(value: Any, kind: str) -> bool:
    if value is None or value == "null":
        return True
    if kind.startswith(("list(", "set(")):
        return isinstance(value, list)
    if kind.startswith(("map(", "object(")):
        return isinstance(value, dict)
    if kind == "bool":
        return isinstance(value, bool) or value in ("true", "false")
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, str) and value.startswith('"')


def _has_secret(block: HclBlock, module: Module) -> bool:
    """Return whether an output has a password or a sensitive variable in it."""
    secret = {f"var.{v.labels[0]}" for v in module.select("variable") if v.body.get("sensitive")}
    return any(
        reference[0] == "random_password" or ".".join(reference[:2]) in secret
        for reference in find_references(block.body.get("value"))
    )
