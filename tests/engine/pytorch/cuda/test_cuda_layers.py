"""Layers compiled by torch.compile, on a CPU: the same tokens, from one compiled function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch._dynamo
from torch._dynamo.utils import counters

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine
from musicgen.request import SamplingParams
from tests.support import engines

CAPACITY, TOKENS, ROWS = 800, 24, 16
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)
UNGUIDED = SamplingParams(temperature=0.0, top_k=0, guidance=1.0)


@pytest.fixture(autouse=True)
def forget_compiled() -> Iterator[None]:
    """Isolate each test from the compiled code of the others."""
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def _load_compiled(folder: Path) -> tuple[MusicGenEngine, MusicGenEngine]:
    """Return an engine with compiled slot layers, and its peer without slots."""
    plain = engines.engine(folder, compiled=False)
    model = engines.model_of(plain)
    slots = RowSlots(model.decoder, ROWS, CAPACITY, TOKENS, compiled=True)
    runner = SlotRunner(slots, capture=False)
    return build_engine(
        model, engines.backend_of(plain).tokenize, "float32", rows=ROWS, runner=runner
    ), plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-melody"])
def test_compiled_layers_make_the_same_tokens(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """Also with other numbers of rows and a longer past, with few recompilations.

    A service with a recompilation per shape would pause at each.
    """
    engine, plain = _load_compiled(checkpoints(name))
    jobs = [GenerationJob((Row("piano", 1, UNGUIDED),), 12)]
    for clips in (1, 2, 3, 5, 8):
        rows = tuple(Row(engines.PROMPTS[seed % 2], seed, SAMPLED) for seed in range(clips))
        jobs.append(GenerationJob(rows, 12))
    jobs += [GenerationJob((Row("bells", 5, SAMPLED),), frames) for frames in (260, 520)]
    for job in jobs:
        expected = engines.run(plain, job).codes
        np.testing.assert_array_equal(engines.run(engine, job).codes, expected)
    assert 0 < counters["stats"]["unique_graphs"] <= 6


def test_where_nothing_can_be_compiled_the_layers_run_as_they_are(
    checkpoints: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In a read-only container the compiler cannot write its cache."""
    engine, plain = _load_compiled(checkpoints("musicgen-small"))
    job = GenerationJob((Row("piano", 1, SAMPLED),), 20)
    expected = engines.run(plain, job).codes
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    np.testing.assert_array_equal(engines.run(engine, job).codes, expected)
    assert sum("torch.compile failed" in record.message for record in caplog.records) == 1
