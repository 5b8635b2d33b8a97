"""A worker imports only what it needs: a serverless one pays for every module at each start.

`FORBIDDEN` and `OPTIONAL` are of a worker that has answered a request, on any platform.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import ROOT

FORBIDDEN = {"transformers", "scipy", "sympy", "matplotlib", "pandas", "huggingface_hub", "av"}
OPTIONAL = {"boto3", "cog", "fastapi", "procrastinate", "runpod", "uvicorn"}
"""Forbidden but for the platform they belong to."""
ROOT_FILES: Mapping[str, set[str]] = {
    "predict": {"cog"},
    "runpod_handler": {"runpod"},
    "handler": set(),
}
"""What a platform imports before it loads a model, and the package that is its own."""
GENERATE = """
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from pathlib import Path
predictor = Predictor.load(
    Settings(data_dir=Path({folder!r}), precision={precision!r}, model={model!r})
)
predictor.generate(GenerationRequest(prompt="piano", duration=0.2, output_format={format!r}))
import sys
sys.stdout.write(" ".join(sys.modules))
"""


def _run(script: str) -> set[str]:
    """Return the packages that a process has imported."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(("precision", "output_format"), [("float32", "wav"), ("bfloat16", "mp3")])
def test_generating_imports_no_stranger(tmp_path: Path, precision: str, output_format: str) -> None:
    loaded = _run(
        GENERATE.format(
            folder=str(tmp_path), precision=precision, format=output_format, model="demo"
        )
    )
    assert "torch" in loaded
    assert not loaded & (FORBIDDEN | OPTIONAL)


@pytest.mark.parametrize("name", ROOT_FILES)
def test_a_platform_s_file_imports_no_stranger(name: str) -> None:
    own = ROOT_FILES[name]
    for package in own:
        pytest.importorskip(package)
    loaded = _run(f"import {name}, sys; print(*sys.modules)")
    assert own <= loaded
    assert not loaded & ((FORBIDDEN | OPTIONAL) - own)
