"""Checks of references: every name exists, every variable is used, nothing depends on itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from infra.check.terraform.expressions import Reference, find_calls, find_references
from infra.check.terraform.modules import IS_BLOCK, HclBlock, Module, unquote
from infra.check.terraform.schemas import read_schemas

FUNCTIONS = frozenset(
    (
        *("abs", "alltrue", "anytrue", "base64decode", "base64encode", "can", "ceil", "cidrhost"),
        *("cidrsubnet", "coalesce", "compact", "concat", "contains", "distinct", "endswith"),
        *("flatten", "floor", "format", "join", "jsondecode", "jsonencode", "keys", "length"),
        *("lookup", "lower", "max", "merge", "min", "one", "range", "regex", "replace", "slice"),
        *("sort", "split", "startswith", "substr", "sum", "templatefile", "tolist", "tomap"),
        *("tonumber", "toset", "tostring", "trim", "trimprefix", "trimsuffix", "try", "upper"),
        *("values", "yamldecode", "yamlencode", "zipmap"),
    )
)
"""Functions of OpenTofu and Terraform 1.8 in common use; add others from their documentation."""
_ALWAYS = {"path": {"module", "root", "cwd"}, "terraform": {"workspace"}}


class Names:
    """Names that the expressions of a module may use."""

    def __init__(self, module: Module, children: Mapping[str, Module]) -> None:
        self.known = {block.address: block for block in module.blocks if block.labels}
        self.locals = module.locals
        self.outputs = {
            name: {block.labels[0] for block in child.select("output")}
            for name, child in children.items()
        }

    def check(self, reference: Reference, block: HclBlock) -> str | None:
        """Return the problem of a reference in a block, or None."""
        text = ".".join(reference).replace(".[]", "[]")
        head, first = reference[0], reference[1] if len(reference) > 1 else ""
        if head in ("each", "count"):
            needed = "for_each" if head == "each" else "count"
            return None if needed in block.body else f"{text} without {needed}"
        if head in _ALWAYS:
            return None if first in _ALWAYS[head] else f"unknown name {text}"
        if head == "var":
            return None if f"var.{first}" in self.known else f"unknown variable {text}"
        if head == "local":
            return None if first in self.locals else f"unknown local name {text}"
        if head == "module":
            output = reference[2] if len(reference) > 2 else ""
            known = output in self.outputs.get(first, ()) or (not output and first in self.outputs)
            return None if known else f"unknown module or output {text}"
        return self._check_object(reference, text)

    def find_target(self, reference: Reference) -> str | None:
        """Return the address of a block that a reference leads to, or None."""
        length = {"data": 3, "local": 2}.get(reference[0], 2)
        address = ".".join(reference[:length])
        return address if address in self.known or reference[0] == "local" else None

    def _check_object(self, reference: Reference, text: str) -> str | None:
        length = 3 if reference[0] == "data" else 2
        target = self.known.get(".".join(reference[:length]))
        if target is None or target.kind not in ("resource", "data"):
            return f"unknown resource or data source {text}"
        rest = list(reference[length:])
        is_many = bool({"count", "for_each"} & target.body.keys())
        if rest and rest[0] not in ("[]", "*") and is_many:
            return f"{text}: {target.address} has several instances, so it needs an index"
        if rest and rest[0] in ("[]", "*"):
            if not is_many:
                return f"{text}: {target.address} has one instance, so it has no index"
            rest = rest[1:]
        schema = read_schemas().get(target.kind, {}).get(target.labels[0])
        if rest and schema and rest[0] not in {*schema["fields"], *schema["readable"]}:
            return f"{text}: {target.labels[0]} has no attribute {rest[0]}"
        return None


def check_references(module: Module, children: Mapping[str, Module]) -> Iterator[str]:
    """Yield unknown names and functions, unused names, and cycles."""
    names = Names(module, children)
    edges: dict[str, set[str]] = defaultdict(set)
    for block in module.blocks:
        yield from _check_block(block, names, edges)
    used = set().union(*edges.values())
    for address, block in names.known.items():
        if block.kind in ("variable", "data") and address not in used:
            yield f"{block.file}: {address} is not used"
    for name in module.locals:
        if f"local.{name}" not in used:
            yield f"local.{name} is not used"
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        yield f"cycle: {' -> '.join(error.args[1])}"


def _check_block(block: HclBlock, names: Names, edges: dict[str, set[str]]) -> Iterator[str]:
    """Check one block, and add its references to `edges`."""
    for label, value, iterators in _list_values(block):
        place = f"{block.file}: {block.address or block.kind}"
        owner = f"local.{label}" if block.kind == "locals" else block.address
        for call in find_calls(value):
            if call not in FUNCTIONS:
                yield f"{place}: unknown function {call}"
        for reference in find_references(value, iterators):
            problem, target = names.check(reference, block), names.find_target(reference)
            if problem:
                yield f"{place}: {problem}"
            elif target and not (target == owner and block.kind == "variable"):
                edges[owner].add(target)  # a variable's own validation is no use of it


def check_calls(module: Module, children: Mapping[str, Module]) -> Iterator[str]:
    """Yield missing and unknown arguments of modules."""
    for block in module.select("module"):
        child = children.get(block.labels[0])
        if child is None:
            yield f"{block.file}: {block.address}: unknown source {block.body.get('source')}"
            continue
        variables = {b.labels[0]: b.body for b in child.select("variable")}
        given = block.body.keys() - {"source", "depends_on", "count", "for_each", IS_BLOCK}
        for name in sorted(given - variables.keys()):
            yield f"{block.file}: {block.address}: no variable is named {name}"
        for name in sorted(variables.keys() - given):
            if "default" not in variables[name]:
                yield f"{block.file}: {block.address}: {name} is missing"


def _list_values(block: HclBlock) -> Iterator[tuple[str, Any, frozenset[str]]]:
    """Yield each value of a block with its name and the iterators of its dynamic blocks."""
    iterators = frozenset(_find_iterators(block.body))
    for name, value in block.body.items():
        if name == IS_BLOCK or (block.kind == "variable" and name == "type"):
            continue
        if name == "lifecycle":  # attributes of the block itself
            value = [{k: v for k, v in item.items() if k != "ignore_changes"} for item in value]
        if block.kind == "terraform":
            continue
        yield name, value, iterators


def _find_iterators(body: Any) -> Iterator[str]:
    if isinstance(body, list):
        for item in body:
            yield from _find_iterators(item)
    elif isinstance(body, dict):
        for name, value in body.items():
            if name == "dynamic":
                yield from (unquote(label) for item in value for label in item if label != IS_BLOCK)
            yield from _find_iterators(value)
