"""The engine on a GPU: the same tokens as on the processor, in float32; sane ones in bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen.engine.engine import MusicGenEngine
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
