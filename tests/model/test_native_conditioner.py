"""Conditioning in the native library: that of PyTorch, for every family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from musicgen.engine.interface import Row
from musicgen.engine.pytorch.conditioning import build_conditioning
from musicgen.model.native.library import load_library
from musicgen.request import SamplingParams
from tests.support import engines, native_models

pytestmark = pytest.mark.skipif(load_library() is None, reason="no native library here")
PRECISIONS = ["float32", "bfloat16", "int8", "int4"]
UNGUIDED = SamplingParams(guidance=1.0)
CASES = {
    "prompts": [
        Row("calm piano", 1, SamplingParams()),
        Row("fast drums and bass", 2, SamplingParams()),
    ],
    "empty": [Row("", 1, SamplingParams()), Row(" ", 2, SamplingParams())],
    "mixed": [
        Row("", 1, SamplingParams()),
        Row("drums", 2, UNGUIDED),
        Row("a", 3, SamplingParams()),
    ],
    "negative": [
        Row("drums", 1, SamplingParams(), "noise and voices"),
        Row("", 2, SamplingParams(), "rain"),
        Row("strings", 3, SamplingParams()),
    ],
}


@pytest.mark.parametrize("name", ["musicgen-small", "musicgen-stereo-medium", "three-codebooks"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", list(CASES))
def test_cross_attention_is_that_of_pytorch(
    checkpoints: Callable[[str], Path], name: str, precision: str, case: str
) -> None:
    folder, rows = checkpoints(name), CASES[case]
    engine = engines.engine(folder, precision)
    with torch.inference_mode():
        theirs = native_models.convert(
            build_conditioning(
                engines.model_of(engine), engines.backend_of(engine).tokenize, rows, None
            )
        )
    ours = native_models.conditioner(folder, precision).build(
        [row.prompt for row in rows],
        [row.negative_prompt for row in rows],
        theirs.guided,
        None,
    )
    assert (ours.clips, ours.rows, ours.prefix) == (theirs.clips, theirs.rows, None)
    for mine, wanted in zip(ours.prompts, theirs.prompts, strict=True):
        if mine is None:
            # An empty prompt has keys and values of zero, or none.
            assert wanted is None or not (wanted.keys.any() or wanted.values.any())
            continue
        assert wanted is not None
        assert np.array_equal(mine.keys, wanted.keys)
        assert np.array_equal(mine.values, wanted.values)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", list(CASES))
@pytest.mark.parametrize("frames", [None, 1, 3, 1000])
def test_a_prefix_is_that_of_pytorch(
    checkpoints: Callable[[str], Path], precision: str, case: str, frames: int | None
) -> None:
    folder, rows = checkpoints("musicgen-melody"), CASES[case]
    engine = engines.engine(folder, precision)
    bins = engine.config.chroma_bins
    chroma = None
    if frames is not None:
        chroma = np.eye(bins, dtype=np.float32)[np.arange(frames) * 5 % bins]
    with torch.inference_mode():
        theirs = build_conditioning(
            engines.model_of(engine),
            engines.backend_of(engine).tokenize,
            rows,
            None if chroma is None else torch.from_numpy(chroma),
        )
    ours = native_models.conditioner(folder, precision).build(
        [row.prompt for row in rows],
        [row.negative_prompt for row in rows],
        theirs.guided,
        chroma,
    )
    assert theirs.prefix is not None and ours.prefix is not None
    assert ours.prefix.shape == tuple(theirs.prefix.shape)
    wanted = native_models.convert(theirs)
    assert (ours.guided, ours.padding) == (wanted.guided, wanted.padding)
    assert np.array_equal(ours.prefix, theirs.prefix.numpy())
