"""Imports go down only: a table of folders, and the imports that break it.

`LAYERS` names, for each folder, the folders it may import from. A module directly in `musicgen`
(result, catalog, generation) and the errors are open to all.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from infra.check.tools import ROOT

VALUES = "musicgen"
ERRORS = "musicgen.errors"
CLIENT = "musicgen_client"
"""A distribution of its own, so it imports nothing of the others."""
LAYERS: dict[str, tuple[str, ...]] = {
    VALUES: (),
    ERRORS: (),
    "musicgen.request": (),
    "musicgen.settings": (),
    "musicgen.net": (),
    "musicgen.capacity": (),
    CLIENT: (),
    "musicgen.model": (),
    "musicgen.audio": ("request",),
    "musicgen.midi": ("request", "audio"),
    "musicgen.credentials": ("settings", "audio"),
    "musicgen.storage": ("settings", "net"),
    "musicgen.remote": ("request", "settings"),
    "musicgen.checkpoints": ("settings", "storage", "model"),
    "musicgen.process": ("settings", "checkpoints", "model"),
    "musicgen.engine": ("request", "settings", "process", "checkpoints", "model"),
    "musicgen.evaluation": (
        *("request", "settings", "process", "checkpoints"),
        *("engine", "model", "audio"),
    ),
    "musicgen.predictor": (
        *("request", "settings", "process", "checkpoints"),
        *("engine", "model", "audio", "midi", "storage", "credentials"),
    ),
    "handlers": ("request", "settings", "process", "checkpoints", "net"),
    "handlers.mcp": ("request",),
    "handlers.job_api": ("request", "handlers"),
    "handlers.job_api.store": (
        *("request", "settings", "audio", "midi", "storage", "credentials"),
        "handlers.job_api",
    ),
    "handlers.job_api.worker": (
        *("request", "settings", "process", "net", "storage", "remote"),
        *("handlers", "handlers.job_api", "handlers.job_api.store"),
    ),
    "handlers.job_api.api": (
        *("request", "settings", "process", "net", "audio", "midi", "remote"),
        *("handlers", "handlers.mcp", "handlers.job_api", "handlers.job_api.store"),
    ),
    "handlers.model_server": ("request", "settings", "handlers", "handlers.job_api"),
    "handlers.doctor": (
        *("settings", "process", "checkpoints", "net", "model", "storage", "midi"),
        "credentials",
        *("handlers", "handlers.job_api", "handlers.job_api.store"),
    ),
}
"""Folders below `musicgen` are written without it. `handlers.cli` and the files at the top level
join the parts: they may import everything."""
ROOTS = ("handlers.cli", "root")
NO_TORCH = (
    *("musicgen.request", "musicgen.settings", CLIENT, "musicgen.result"),
    *("musicgen.catalog", "handlers.contract", "handlers.serving", "handlers.cli.main"),
    *("handlers.job_api.api.app", "handlers.doctor.checks", "handlers.doctor.start"),
    *("handlers.mcp.server", "handlers.model_server.app"),
)
"""Importing one of these must not import torch."""


def folder_of(module: str) -> str:
    """Return the folder of a module, as `LAYERS` names it."""
    if "." not in module and module not in ("musicgen", "handlers", CLIENT):
        return "root"
    inside = [name for name in [*LAYERS, *ROOTS] if f"{module}.".startswith(f"{name}.")]
    return max(inside, key=len)


def is_allowed(module: str, target: str) -> bool:
    """Whether `module` may import `target`."""
    own, other = folder_of(module), folder_of(target)
    if own == CLIENT:
        return other == CLIENT
    if own in (other, *ROOTS) or other in (VALUES, ERRORS):
        return True
    return other in {f if f.startswith("handlers") else f"musicgen.{f}" for f in LAYERS[own]}


def imports_that_go_up(trees: Mapping[Path, ast.Module]) -> list[str]:
    """Return the imports that `LAYERS` does not allow."""
    return [
        f"{module} imports {target}"
        for module, targets in _graph(trees).items()
        for target in sorted(targets)
        if not is_allowed(module, target)
    ]


def circles(trees: Mapping[Path, ast.Module]) -> list[tuple[str, ...]]:
    """Return groups of modules that import each other (Tarjan 1972, strongly connected)."""
    graph = _graph(trees)
    reached = {module: _reach(graph, module) for module in graph}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, set())))
        for module in graph
        if module in reached[module]
    }
    return sorted(groups)


def _reach(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph.get(start, ()))
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += graph.get(module, ())
    return seen


def _graph(trees: Mapping[Path, ast.Module]) -> dict[str, set[str]]:
    """Map each module of the packages to the modules of ours that it imports."""
    names = {_module(path): tree for path, tree in trees.items()}
    ours = {name for name in names if name.split(".")[0] not in ("infra", "bench")}
    return {name: _imports(names[name], ours) - {name} for name in sorted(ours)}


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module, known: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inside or {node.module}
    return found & known
