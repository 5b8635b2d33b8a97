"""The advice for adapters that are refused: PEFT's merge, saved whole, plays here as in PEFT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musicgen.checkpoints.adapters.kinds import MERGED_BY_PEFT
from musicgen.engine.loading import load_engine
from musicgen.settings import Settings
from tests.support import adapters, engines, oracle

OPTIONS: dict[str, dict[str, Any]] = {
    "ADALORA": {"total_step": 10},
    "BEFT": {"target_modules": ["enc_to_dec_proj"]},
    "C3A": {"block_size": 8},
    "MISS": {"r": 8},
    "ROAD": {"group_size": 8},
    "SHIRA": {"r": 4},
    "VBLORA": {"vector_length": 8, "num_vectors": 16, "topk": 2},
    "WAVEFT": {"n_frequency": 64},
}
KINDS = sorted(MERGED_BY_PEFT - {"BONE"})
"""BONE is of older versions of PEFT."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_a_model_merged_by_peft_plays_alike(
    checkpoints: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    peft = pytest.importorskip("peft")
    if kind == "ADAMSS":
        pytest.importorskip("sklearn")
    base = checkpoints("musicgen-small")
    options = {"target_modules": ["q_proj", "fc1"], **OPTIONS.get(kind, {})}
    adapters.write(
        tmp_path / "adapter", base, peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(kind)](**options)
    )
    merged = adapters.merge(base, tmp_path / "adapter")
    merged.save_pretrained(tmp_path / "whole")
    for path in base.glob("*token*"):
        (tmp_path / "whole" / path.name).write_bytes(path.read_bytes())
    tokens = oracle.greedy_tokens(
        merged, oracle.load_tokenizer(base), [engines.PROMPTS[0]], 12, 3.0
    )
    ours = load_engine(tmp_path / "whole", "x", Settings(precision="float32"))
    assert torch.equal(engines.codes(ours, [engines.PROMPTS[0]], 12, engines.greedy()), tokens)
    plain = engines.codes(engines.engine(base), [engines.PROMPTS[0]], 12, engines.greedy())
    changed = adapters.weights(oracle.load(base))
    assert not torch.equal(plain, tokens) or any(
        not torch.equal(changed[name], tensor) for name, tensor in adapters.weights(merged).items()
    )
