"""Equality of what the folders of both clouds have in common: variables and outputs by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.check.terraform.modules import HclBlock, Module

CLOUDS = ("aws", "google")
COMMON = "common.tf"
"""Copied into both folders by `python -m infra.generate`."""
OF_A_CLOUD = {
    "database_machine": {"default", "validation"},
    "gpu_machine": {"default", "validation"},
    "region": {"default", "validation", "description"},
    "system_machine": {"default"},
}
"""Arguments of a common variable with a value for each cloud."""


def check_twins(modules: dict[str, Module]) -> Iterator[str]:
    """Yield the differences between common variables, and outputs missing on one side.

    The documentation and the overlay read either cloud in one way. A variable without a difference
    has one declaration, in common.tf.
    """
    first, second = (modules[name] for name in CLOUDS)
    variables = [_index(module, "variable") for module in (first, second)]
    for name in sorted(variables[0].keys() & variables[1].keys()):
        one, other = (
            _read_arguments(side[name], OF_A_CLOUD.get(name, set())) for side in variables
        )
        for argument in sorted(one.keys() | other.keys()):
            if one.get(argument) != other.get(argument):
                yield f"variable {name}: {argument} differs between {' and '.join(CLOUDS)}"
        if name not in OF_A_CLOUD and any(side[name].file != COMMON for side in variables):
            yield f"variable {name}: both clouds have it, so declare it in {COMMON} alone"
    outputs = [_index(module, "output") for module in (first, second)]
    for name in sorted(outputs[0].keys() | outputs[1].keys()):
        missing = [cloud for cloud, side in zip(CLOUDS, outputs, strict=True) if name not in side]
        if missing:
            yield f"output {name}: {missing[0]} has none of that name"
        elif len({str(side[name].body.get("sensitive")) for side in outputs}) > 1:
            yield f"output {name}: sensitive differs between {' and '.join(CLOUDS)}"


def _index(module: Module, kind: str) -> dict[str, HclBlock]:
    return {block.labels[0]: block for block in module.select(kind)}


def _read_arguments(block: HclBlock, without: set[str]) -> dict[str, Any]:
    return {name: value for name, value in block.body.items() if name not in without}
