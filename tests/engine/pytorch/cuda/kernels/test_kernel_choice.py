"""Steps with kernels: the same tokens, one graph for all lengths, and PyTorch where they fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from musicgen.engine.interface import GenerationJob, Row
from musicgen.engine.pytorch.cuda.graphs import SlotRunner
from musicgen.engine.pytorch.cuda.kernels import choice, twins
from musicgen.engine.pytorch.cuda.kernels.choice import TWINS, check_kernels, load_kernels
from musicgen.engine.pytorch.cuda.slots import RowSlots
from musicgen.engine.pytorch.loading import build_engine
from musicgen.model.config import MusicGenConfig
from musicgen.request import SamplingParams
from musicgen.settings import Settings
from tests.support import engines
from tests.support.checkpoints import FAMILIES

CPU = torch.device("cpu")
SAMPLINGS = [
    SamplingParams(1.0, 30, 0.0, 3.0),
    SamplingParams(0.0, 0, 0.0, 3.0),
    SamplingParams(1.0, 0, 0.8, 1.0),
]


@pytest.mark.parametrize("name", FAMILIES)
def test_steps_with_kernels_draw_the_tokens_of_steps_without(
    checkpoints: Callable[[str], Path], name: str
) -> None:
    """The kernels' twins stand in for them; top_p has no kernel."""
    known = engines.engine(checkpoints(name), compiled=False)
    model = engines.model_of(known)
    slots = RowSlots(model.decoder, 8, 320, 24, fused=FusedLayers(model.decoder, TWINS))
    runner = SlotRunner(slots, capture=False)
    engine = build_engine(
        model, engines.backend_of(known).tokenize, "float32", rows=8, runner=runner
    )
    for params in SAMPLINGS:
        job = GenerationJob((Row("piano", 1, params), Row("bells and drums", 2, params)), 30)
        np.testing.assert_array_equal(engines.run(engine, job).codes, engines.run(known, job).codes)


def test_kernels_serve_all_lengths_with_one_shape(checkpoints: Callable[[str], Path]) -> None:
    decoder = engines.model(checkpoints("musicgen-small")).decoder
    lengths = [1, 256, 257, 500]
    with_kernels, without = (
        RowSlots(decoder, 2, 512, 16, kernels=kernels) for kernels in (TWINS, None)
    )
    assert {with_kernels.round_length(length, 256) for length in lengths} == {512}
    assert [without.round_length(length, 256) for length in lengths] == [256, 256, 512, 512]


def test_wrong_kernels_are_found(checkpoints: Callable[[str], Path]) -> None:
    """A kernel that runs on a new card with other results must not make music."""

    def attend(query: Tensor, keys: Tensor, values: Tensor, first: Tensor, end: Tensor) -> Tensor:
        return twins.attend_live(query, keys, values, first, end + 1)

    def sample(*given: Tensor) -> tuple[Tensor, Tensor]:
        tokens, finite = twins.sample_guided(*given)  # type: ignore[arg-type]
        return tokens.flip(0), finite

    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    check_kernels(TWINS, CPU, config, torch.float32)
    for wrong in (replace(TWINS, attend=attend), replace(TWINS, sample=sample)):
        with pytest.raises(ValueError, match="differs from PyTorch's"):
            check_kernels(wrong, CPU, config, torch.float32)


def test_without_triton_steps_use_pytorch(
    checkpoints: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line tells of it."""

    def fail(*_: object) -> None:
        raise RuntimeError("no compiler for this card")

    monkeypatch.setattr(choice, "check_kernels", fail)
    config = MusicGenConfig.from_folder(checkpoints("musicgen-small")).decoder
    with caplog.at_level(logging.INFO):
        assert load_kernels(CPU, config, torch.float32) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "PyTorch's operators" in caplog.text


def test_kernels_are_off_unless_asked_for() -> None:
    assert not Settings.from_env({}).kernels
    assert Settings.from_env({"MUSICGEN_KERNELS": "1"}).kernels
