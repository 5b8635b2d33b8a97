"""Clients generated from the OpenAPI document, by tools with environments of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.check.tools import find_tool
from tests.support import ROOT

GENERATOR = "openapi-python-client"
TYPESCRIPT = ROOT / "clients" / "typescript"
NODE_MODULES = Path(sys.executable).parents[1] / "node" / "node_modules"
SECONDS = 300


def python_of_generator() -> Path:
    """The Python beside openapi-python-client, or skip the test."""
    found = Path(sys.executable).parents[1] / GENERATOR / "bin" / "python"
    if not found.exists():
        pytest.skip(f"{GENERATOR} is not installed: make .venv/{GENERATOR}/installed")
    return found


def typescript_project(folder: Path, document: dict[str, Any]) -> Path:
    """A copy of clients/typescript with its tools, for a document; or skip the test."""
    if find_tool("node") is None or not NODE_MODULES.exists():
        pytest.skip("the tools of Node.js are not installed: make .venv/node/installed")
    project = folder / "clients" / "typescript"
    shutil.copytree(TYPESCRIPT, project, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (project / "node_modules").symlink_to(NODE_MODULES)
    (folder / "docs").mkdir()
    (folder / "docs" / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    return project


def compile_example(project: Path) -> str:
    """Compile the client with its example; return the path of the program within the project."""
    whole = {
        "extends": "./tsconfig.json",
        "compilerOptions": {"rootDir": ".", "outDir": "out"},
        "include": ["src", "examples"],
    }
    (project / "tsconfig.whole.json").write_text(json.dumps(whole))
    run("npx", "tsc", "--project", "tsconfig.whole.json", folder=project)
    return "out/examples/make.js"


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run a command and return its standard output. The generator formats its client with ruff."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
