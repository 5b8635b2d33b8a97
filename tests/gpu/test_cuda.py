"""The engine on a GPU: the same tokens as on the processor, in float32; sane ones in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.engine.engine import MusicGenEngine
from musicgen.engine.graphs import SlotSteps
from musicgen.engine.interface import GenerationJob, Row
from musicgen.machine import free_memory
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from tests.support import engines
from tests.support.checkpoints import FAMILIES

pytestmark = pytest.mark.gpu
SAMPLED = SamplingParams(temperature=1.0, top_k=30, guidance=3.0)


def _cuda(folder: Path, precision: str) -> MusicGenEngine:
    return MusicGenEngine.load(folder, MusicGenConfig.from_folder(folder), "cuda:0", precision)


@pytest.fixture(autouse=True)
def _exact_products() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("name", FAMILIES)
def test_float32_tokens_equal_the_processor_s(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """Greedy and sampled: the random numbers are drawn on the processor for every device."""
    folder = checkpoints(name)
    for sampling in (engines.greedy(), SAMPLED):
        expected = engines.codes(
            engines.engine(folder), engines.PROMPTS, 30, sampling, seeds=[1, 2]
        )
        actual = engines.codes(
            _cuda(folder, "float32"), engines.PROMPTS, 30, sampling, seeds=[1, 2]
        )
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_bfloat16_repeats_itself(checkpoints: Callable[[str], Path], name: str) -> None:
    engine = _cuda(checkpoints(name), "bfloat16")
    first, again = (engines.codes(engine, ["piano"], 30, SAMPLED, seeds=[5]) for _ in range(2))
    assert torch.equal(first, again)
    assert first.unique().numel() > 10


def test_closing_gives_the_memory_back(checkpoints: Callable[[str], Path]) -> None:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    engine = _cuda(checkpoints("musicgen-small"), "bfloat16")
    assert torch.cuda.memory_allocated() > before
    engine.close()
    assert torch.cuda.memory_allocated() == before
    free = free_memory("cuda:0")
    assert free is not None and free > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_recorded_steps_draw_the_tokens_of_unrecorded_ones(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """Eight jobs, so that shapes change while they come and go."""
    recorded = _cuda(checkpoints(name), "float32")
    plain = MusicGenEngine(recorded._loaded(), recorded._tokenize, "float32")
    jobs = [
        GenerationJob((Row(engines.PROMPTS[seed % 2], seed, SAMPLED),), 20 + 10 * seed)
        for seed in range(8)
    ]
    with ThreadPoolExecutor(len(jobs)) as callers:
        found = [callers.submit(engines.run, recorded, job) for job in jobs]
        for each, job in zip(found, jobs, strict=True):
            assert np.array_equal(each.result(300).codes, engines.run(plain, job).codes)
    assert isinstance(recorded._steps, SlotSteps)
    assert recorded._steps._graphs, "nothing was recorded"
