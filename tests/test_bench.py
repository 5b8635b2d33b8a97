"""The benchmarks run, on toy weights, and what they save makes tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.full_size import build_full_size
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
    from bench.soak import Budget, SoakClient, soak
    from musicgen.checkpoints.locate import locate
    from musicgen.engine.engine import MusicGenEngine
    from musicgen.engine.loading import load_engine
    from musicgen.settings import Settings

    engine = load_engine(locate("demo").folder, "demo", Settings(threads=2))
    assert isinstance(engine, MusicGenEngine)
    outcomes, memory, idle = soak(engine, callers=3, seconds=10)
    assert idle and memory["resident"]
    answers = {"answered", "given up", "refused as busy"}
    assert outcomes["asked"] == sum(outcomes[name] for name in answers) > 0
    assert SoakClient(engine, 1, Budget(until=0.0)).run() == {}
    outcomes, _, idle = soak(engine, callers=3, seconds=60, requests=7, longest=20)
    assert idle and outcomes["asked"] == 7 == sum(outcomes[name] for name in answers)


def test_a_previous_build_beside_this_one(toy: Path) -> None:
    common = ["--model", "toy", "--checkpoint", str(toy), "--previous", str(ROOT)]
    common += ["--rounds", "1", "--threads", "1"]
    decode = _run("bench/decode.py", *common, "--seconds", "0.5", "--contestants", "packed int8")
    assert set(decode["medians"]) == {"packed int8", "previous int8"}
    serve = _run(
        "bench/serve.py",
        *common,
        "--callers",
        "2",
        "--seconds",
        "0.5",
        "--contestants",
        "packed int8",
    )
    assert "throughput, packed int8 over previous int8, 2 callers" in serve["ratios"]
    codec = _run(
        "bench/codec.py",
        *common,
        "--seconds",
        "0.5",
        "--contestants",
        "musicgen",
        "transformers",
        "--music",
        "1",
    )
    assert set(codec["lengths"]["0.5 s"]["medians"]) == {"musicgen", "previous", "transformers"}
    assert codec["music of the demo"]["error_db"]["musicgen"] < -100
    assert "musicgen" in TABLES["codec"](codec)


def test_memory_of_a_worker(toy: Path) -> None:
    result = _run(
        "bench/memory.py",
        "--model",
        "toy",
        "--checkpoint",
        str(toy),
        "--seconds",
        "0.5",
        "--threads",
        "1",
        "--forms",
        "native-int8",
    )
    figures = result["medians"]["musicgen native-int8"]
    assert 0 < figures["anonymous_mb"] <= figures["peak_mb"]
    assert "musicgen native-int8" in TABLES["memory"](result)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("form", ["float32", "int8"])
def test_a_converted_step_has_the_logits_of_the_decoder(toy: Path, runtime: str, form: str) -> None:
    pytest.importorskip(runtime)
    # onnx comes with the development packages; onnxruntime's quantizer needs onnx_ir too.
    pytest.importorskip("nncf" if runtime == "openvino" else "onnx_ir")
    result = _run(
        "bench/decode.py",
        "--model",
        "toy",
        "--checkpoint",
        str(toy),
        "--rounds",
        "1",
        "--seconds",
        "0.5",
        "--threads",
        "1",
        "--contestants",
        f"{runtime} {form}",
    )
    error = result["medians"][f"{runtime} {form}"]["logits_error"]
    assert 0 < error < (1e-5 if form == "float32" else 0.05)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "toy"
    build_full_size("toy", folder)
    return folder
