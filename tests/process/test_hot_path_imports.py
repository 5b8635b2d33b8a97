"""Generating imports only what it needs: a serverless worker pays for every module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

GENERATE = """
from musicgen.predictor import Predictor
from musicgen.request import GenerationRequest
from musicgen.settings import Settings
from pathlib import Path
predictor = Predictor.load(Settings(data_dir=Path({folder!r}), precision={precision!r}))
predictor.generate(GenerationRequest(prompt="piano", duration=0.2, output_format={format!r}))
import sys
sys.stdout.write(" ".join(sys.modules))
"""
FORBIDDEN = {"transformers", "scipy", "sympy", "matplotlib", "cog", "boto3", "huggingface_hub"}
ROOT_FILES = {"predict": {"cog"}, "runpod_handler": {"runpod"}, "handler": set()}
"""What a platform imports before it loads a model, and the package that is its own."""


@pytest.mark.parametrize(("precision", "output_format"), [("float32", "wav"), ("bfloat16", "mp3")])
def test_generating_imports_no_stranger(tmp_path: Path, precision: str, output_format: str) -> None:
    script = GENERATE.format(folder=str(tmp_path), precision=precision, format=output_format)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert "torch" in loaded
    assert not loaded & FORBIDDEN


@pytest.mark.parametrize("name", ROOT_FILES)
def test_a_platform_s_file_imports_no_stranger(name: str) -> None:
    own = ROOT_FILES[name]
    for package in own:
        pytest.importorskip(package)
    script = f"import {name}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {module.split(".")[0] for module in done.stdout.split()}
    assert {"torch", *own} <= loaded
    assert not loaded & ((FORBIDDEN | {"runpod", "fastapi", "pandas"}) - own)
