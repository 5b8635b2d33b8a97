"""The table of folders: imports go down only, and the house keeps its bounds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.check import house
from infra.check.imports import CLIENT, LAYERS, NO_TORCH, ROOTS, folder_of, is_allowed
from tests.support import ROOT

SOURCES = ("musicgen", CLIENT, "handlers")
PACKAGES = sorted([*ROOT.glob("*.py"), *(p for n in SOURCES for p in (ROOT / n).glob("**/*.py"))])


def test_the_house_keeps_its_bounds() -> None:
    assert house.problems() == []


def test_every_folder_stands_in_the_table() -> None:
    for folder in [*ROOT.glob("musicgen/*/"), *ROOT.glob("handlers/*/")]:
        if any(folder.glob("*.py")) and folder.name != "demo":
            assert f"{folder.parent.name}.{folder.name}" in {*LAYERS, *ROOTS}, folder


def test_the_table_has_no_circle() -> None:
    """Two folders that may import each other are one folder."""
    for name, below in LAYERS.items():
        for other in (f if f.startswith("handlers") else f"musicgen.{f}" for f in below):
            assert not is_allowed(other, name) or name in ("musicgen", "musicgen.errors"), (
                name,
                other,
            )


def test_the_table_refuses_an_upward_import() -> None:
    """Guards the guard: a table that allows everything would pass the tests above."""
    assert not is_allowed("musicgen.audio.encode", "musicgen.engine.engine")
    assert not is_allowed("musicgen.model.decoder", "musicgen.request")
    assert not is_allowed("handlers.contract", "musicgen.predictor")
    assert not is_allowed("musicgen.predictor.predictor", "handlers.cli.main")
    assert not is_allowed("musicgen_client.calls", "musicgen.errors")
    assert is_allowed("handlers.cli.generate_remote", "musicgen_client")
    assert folder_of("handlers.job_api.store.jobs") == "handlers.job_api.store"


@pytest.mark.parametrize("module", NO_TORCH)
def test_importing_it_imports_no_torch(module: str) -> None:
    assert "torch" not in _modules_after(f"import {module}")


def test_only_settings_reads_the_environment() -> None:
    for path in PACKAGES:
        if Path("musicgen/settings") not in path.relative_to(ROOT).parents:
            assert not re.search(r"os\.(environ|getenv)", path.read_text()), path


def _modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stdout.split()}
