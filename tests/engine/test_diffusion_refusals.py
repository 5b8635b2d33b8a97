"""Engines and models without multi-band diffusion refuse a job for it before they decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from musicgen.engine.interface import Engine, GenerationJob, Row
from musicgen.engine.loading import load_engine
from musicgen.engine.pytorch.diffusion import DiffusionLoader
from musicgen.errors import InvalidRequest
from musicgen.model.native.library import load_library
from musicgen.settings import Settings
from tests.support import engines
from tests.support.packs import pack_folder

JOB = GenerationJob((Row("calm piano", 1, engines.greedy()),), 8, diffusion="./never-looked-for")


def _assert_refuses(engine: Engine, advice: str) -> None:
    with pytest.raises(InvalidRequest, match=advice) as raised:
        next(engine.generate(JOB))
    assert raised.value.field == "decoder"


@pytest.mark.skipif(load_library() is None, reason="no native library here")
def test_the_native_engine_refuses_it(checkpoints: Callable[[str], Path], tmp_path: Path) -> None:
    """It runs where PyTorch is not installed."""
    file = pack_folder(checkpoints("musicgen-small"), "native-float32", tmp_path).path
    settings = Settings(device="cpu", precision="float32")
    _assert_refuses(load_engine(file, "toy", settings), "needs the engine musicgen in PyTorch")


def test_the_engine_transformers_refuses_it(checkpoints: Callable[[str], Path]) -> None:
    settings = Settings(engine="transformers", precision="float32")
    engine = load_engine(checkpoints("musicgen-small"), "toy", settings)
    _assert_refuses(engine, "needs the engine musicgen in PyTorch")


def test_a_model_of_another_rate_refuses_it(checkpoints: Callable[[str], Path]) -> None:
    """The weights exist for the codec of 32 kHz alone."""
    config = engines.model(checkpoints("musicgen-small")).config
    slow = replace(config, codec=replace(config.codec, sample_rate=16_000))
    model = SimpleNamespace(config=slow)
    with pytest.raises(InvalidRequest, match="encodec for this model of 16000 Hz"):
        DiffusionLoader(model).open("./never-looked-for")  # type: ignore[arg-type]
