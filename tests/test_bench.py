"""The benchmarks run, on toy weights, and what they save makes tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.page import TABLES
from tests.support import ROOT

pytestmark = pytest.mark.slow


def _run(*command: str) -> dict[str, Any]:
    """The JSON object of the last line."""
    run = subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return result


def test_all_that_a_gpu_would_run(tmp_path: Path) -> None:
    result = _run("bench/gpu.py", "--dry-run", "--results", str(tmp_path))
    assert set(result["return_codes"].values()) == {0}
    for name in result["return_codes"]:
        saved = json.loads((tmp_path / f"{name}.json").read_text())
        table = TABLES[saved["name"]](saved)
        assert "musicgen" in table or saved["name"] == "codec"
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) <= 2


def test_a_short_soak_answers_every_request() -> None:
    """Too short to tell whether memory is flat: a process grows while it warms up."""
    from bench.soak import SoakClient, soak
    from musicgen.checkpoints.locate import locate
    from musicgen.engine.engine import MusicGenEngine
    from musicgen.engine.loading import load_engine
    from musicgen.settings import Settings

    engine = load_engine(locate("demo").folder, "demo", Settings(threads=2))
    assert isinstance(engine, MusicGenEngine)
    outcomes, memory, idle = soak(engine, callers=3, seconds=10)
    assert idle and memory
    answers = {"answered", "given up", "refused as busy"}
    assert outcomes["asked"] == sum(outcomes[name] for name in answers) > 0
    assert SoakClient(engine, seed=1, until=0.0).run() == {}
