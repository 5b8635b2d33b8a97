"""At full size, too, the tokens are transformers': 24 layers give rounding room to add up."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bench.full_size import build_full_size
from musicgen.process.resources import cpu_quota
from tests.support import engines, oracle

PROMPT = "80s pop track with bassy drums and synth"


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_greedy_tokens_of_musicgen_small(full_size: Path, guidance: float) -> None:
    torch.set_num_threads(cpu_quota())
    theirs, tokenizer = oracle.load(full_size), oracle.load_tokenizer(full_size)
    expected = oracle.greedy_tokens(theirs, tokenizer, [PROMPT], 20, guidance)
    actual = engines.codes(engines.engine(full_size), [PROMPT], 20, engines.greedy(guidance))
    assert torch.equal(actual, expected)
    assert expected.unique().numel() > 20


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("full-size") / "musicgen-small"
    build_full_size("musicgen-small", folder)
    return folder
