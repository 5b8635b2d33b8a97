"""The table of allowed imports: they go down only."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VALUES = {
    "musicgen",
    "musicgen.errors",
    "musicgen.request.validation",
    "musicgen.request.postprocessing",
    "musicgen.request.sections",
    "musicgen.request",
    "musicgen.result",
    "musicgen.settings",
    "musicgen.settings.remote",
    "musicgen.catalog",
    "musicgen.checkpoints.locate",
    "musicgen.process.resources",
    "musicgen.generation",
    "handlers.model_pool",
    "musicgen.predictor.manifest",
    "musicgen.process.stopwatch",
    "musicgen.process.logs",
    "musicgen.process.tracing",
    "musicgen.net.fetch",
    "musicgen.net.post",
    "musicgen.net.ssrf",
    "musicgen.settings.job_api",
    "musicgen.checkpoints.archives",
    "musicgen.checkpoints.packed.format",
    "musicgen.process.lazy_torch",
    "musicgen.process.startup",
    "musicgen.checkpoints.locking",
}
LAYERS = {
    "root": VALUES | {"handlers", "musicgen.predictor"},
    "handlers": VALUES | {"handlers"},
    "handlers.job_api": VALUES
    | {"handlers", "musicgen.audio", "musicgen.storage", "musicgen.remote"},
    "handlers.cli.serve": VALUES
    | {
        "handlers.cli",
        "musicgen.predictor",
        "musicgen.storage",
        "musicgen.remote",
        "handlers",
    },
    "handlers.cli.keys": VALUES | {"handlers.cli", "handlers"},
    "handlers.cli.generate_remote": VALUES | {"handlers.cli", "musicgen.client", "musicgen.remote"},
    "musicgen.client": VALUES | {"musicgen.client.protocol"},
    "musicgen.client.protocol": VALUES,
    "handlers.cli.main": VALUES | {"handlers.cli"},
    "handlers.cli": VALUES
    | {
        "handlers.cli",
        "musicgen.predictor",
        "musicgen.evaluation.verify",
        "musicgen.evaluation",
        "musicgen.audio",
        "musicgen.storage",
        "musicgen.remote",
        "musicgen.checkpoints.pack",
        "musicgen.checkpoints.audiocraft",
        "musicgen.capacity",
    },
    "musicgen.capacity": VALUES | {"musicgen.capacity"},
    "musicgen.checkpoints.pack": VALUES | {"musicgen.model"},
    "musicgen.checkpoints.audiocraft": VALUES | {"musicgen.model"},
    "musicgen.checkpoints.download": VALUES | {"musicgen.storage.s3_client"},
    "musicgen.remote": VALUES | {"musicgen.remote"},
    "musicgen.evaluation.verify": VALUES | {"musicgen.engine"},
    "musicgen.evaluation": VALUES | {"musicgen.engine", "musicgen.audio", "musicgen.evaluation"},
    "musicgen.predictor": VALUES
    | {
        "musicgen.engine",
        "musicgen.model.config",
        "musicgen.audio",
        "musicgen.storage",
        "musicgen.predictor.prepare",
        "musicgen.predictor.separation",
        "musicgen.predictor.store",
        "musicgen.predictor.stream",
        "musicgen.checkpoints.download",
    },
    "musicgen.predictor.prepare": VALUES
    | {
        "musicgen.audio",
        "musicgen.engine.interface",
        "musicgen.engine.windows",
        "musicgen.model.config",
    },
    "musicgen.predictor.separation": VALUES | {"musicgen.audio"},
    "musicgen.predictor.store": VALUES | {"musicgen.audio", "musicgen.storage"},
    "musicgen.predictor.stream": VALUES | {"musicgen.audio", "musicgen.engine.interface"},
    "musicgen.engine": VALUES | {"musicgen.engine", "musicgen.model"},
    "musicgen.audio": VALUES | {"musicgen.audio"},
    "musicgen.storage": VALUES | {"musicgen.storage"},
    "musicgen.model": {"musicgen.model", "musicgen.errors", "musicgen.checkpoints.packed.format"},
    "values": VALUES,
}
OURS = ("musicgen", "handlers")


def _sources() -> list[Path]:
    return sorted(
        [*ROOT.glob("*.py"), *ROOT.glob("musicgen/**/*.py"), *ROOT.glob("handlers/**/*.py")]
    )


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _layer(module: str) -> str:
    if module in VALUES:
        return "values"
    inside = [name for name in LAYERS if module == name or module.startswith(name + ".")]
    if inside:
        return max(inside, key=len)
    return "root" if "." not in module else module


def _imports(tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names}
            known = {name for name in submodules if name in VALUES}
            found |= known or {node.module}
    return {name for name in found if name.split(".")[0] in OURS}


def _allowed(module: str, target: str) -> bool:
    return any(
        target == name or (name not in VALUES and target.startswith(name + "."))
        for name in LAYERS[_layer(module)]
    )


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    module = _module(path)
    wrong = {t for t in _imports(ast.parse(path.read_text())) if not _allowed(module, t)}
    assert not wrong, f"{module} (layer {_layer(module)}) must not import {sorted(wrong)}"


def test_the_table_refuses_an_upward_import() -> None:
    """Guards the guard: a table that allows everything would pass the test above."""
    assert not _allowed("musicgen.audio.encode", "musicgen.engine.engine")
    assert not _allowed("musicgen.model.decoder", "musicgen.request")
    assert not _allowed("handlers.contract", "musicgen.predictor")


@pytest.mark.parametrize("path", _sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} is {length} lines long"


@pytest.mark.parametrize(
    "module", ["musicgen.request", "musicgen.result", "musicgen.catalog", "handlers.cli.main"]
)
def test_importing_a_leaf_imports_no_torch(module: str) -> None:
    assert "torch" not in _modules_after(f"import {module}")


def test_only_settings_reads_the_environment() -> None:
    for path in _sources():
        if _module(path) not in ("musicgen.settings", "musicgen.settings.job_api"):
            assert not re.search(r"os\.(environ|getenv)", path.read_text()), path


def _modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stdout.split()}
