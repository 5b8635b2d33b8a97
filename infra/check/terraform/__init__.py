"""Checks of infra/terraform without a tofu or terraform program.

They find what `validate` finds: files that are no HCL, names that do not exist, cycles, arguments
unknown to the providers, missing ones, values of a wrong type; and what `fmt` and common linters
find: layout, unused names, variables without type, description or a sensible default. Variables and
outputs of both clouds must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.check.terraform.formatting import check_format
from infra.check.terraform.modules import FOLDER, FOLDERS, Module, read_module, unquote
from infra.check.terraform.references import check_calls, check_references
from infra.check.terraform.schemas import check_schemas, check_versions
from infra.check.terraform.twins import check_twins
from infra.check.terraform.variables import check_variables


def problems() -> list[str]:
    """Return the problems of all folders."""
    return list(check_folders(FOLDER))


def check_folders(root: Path) -> Iterator[str]:
    """Yield the problems of the folders below `root`, each with its folder's name."""
    modules = {name: read_module(root / name) for name in FOLDERS}
    for name, module in modules.items():
        for path in sorted((root / name).glob("*.tf")):
            yield from (f"{name}/{problem}" for problem in check_format(path))
        for problem in _check_module(name, module, modules):
            yield f"{name}/{problem}"
    yield from check_twins(modules)


def _check_module(name: str, module: Module, modules: dict[str, Module]) -> Iterator[str]:
    if module.errors:
        yield from module.errors
        return
    children = {}
    for block in module.select("module"):
        source = unquote(str(block.body.get("source", "")))
        path = (FOLDER / name / source).resolve()
        if path.is_relative_to(FOLDER) and str(path.relative_to(FOLDER)) in modules:
            children[block.labels[0]] = modules[str(path.relative_to(FOLDER))]
    yield from _check_duplicates(module)
    yield from check_variables(module)
    yield from check_references(module, children)
    yield from check_calls(module, children)
    yield from check_schemas(module)
    yield from check_versions(module)


def _check_duplicates(module: Module) -> Iterator[str]:
    seen: set[str] = set()
    for block in module.blocks:
        if block.labels and block.address in seen:
            yield f"{block.file}: {block.kind} {block.address} is declared twice"
        seen.add(block.address)
