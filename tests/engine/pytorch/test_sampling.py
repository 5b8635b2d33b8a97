"""Sampling: the right distribution per row, from the row's own draws only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musicgen.engine.pytorch.sampling import (
    SamplerFeatures,
    SamplingTensors,
    guide_logits,
    sample_tokens,
)
from musicgen.model.native.draws import NumpyDraws
from musicgen.request import SamplingParams

CPU = torch.device("cpu")
sampling_params = st.builds(
    SamplingParams,
    temperature=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    top_k=st.integers(1, 16),
    top_p=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)


def _sample(
    logits: torch.Tensor,
    rows: list[SamplingParams],
    seeds: list[int],
    steps: int = 1,
    features: SamplerFeatures | None = None,
) -> torch.Tensor:
    """Return tokens (steps, rows, codebooks) sampled from the same logits at each step."""
    sampler, features = (
        SamplingTensors.from_params(rows, CPU),
        features or SamplerFeatures.from_params(rows),
    )
    uniform = torch.from_numpy(NumpyDraws(seeds).next(steps, logits.shape[1]))
    return torch.stack(
        [sample_tokens(logits, sampler, features, uniform[:, step]) for step in range(steps)]
    )


@settings(max_examples=60)
@given(st.lists(sampling_params, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_a_row_samples_as_if_it_were_alone(rows: list[SamplingParams], seed: int) -> None:
    logits = torch.randn(len(rows), 3, 16, generator=torch.Generator().manual_seed(seed)) * 3
    seeds = [seed ^ i for i in range(len(rows))]
    together = _sample(logits, rows, seeds, steps=4)
    for i, row in enumerate(rows):
        alone = _sample(logits[i : i + 1], [row], [seeds[i]], steps=4)
        assert torch.equal(together[:, i], alone[:, 0])


@settings(max_examples=60)
@given(st.lists(sampling_params, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_unneeded_features_draw_the_same(rows: list[SamplingParams], seed: int) -> None:
    logits = torch.randn(len(rows), 3, 16, generator=torch.Generator().manual_seed(seed)) * 3
    seeds = [seed ^ i for i in range(len(rows))]
    everything = SamplerFeatures(random=True, largest_k=16, top_p=True)
    expected = _sample(logits, rows, seeds, steps=4)
    assert torch.equal(_sample(logits, rows, seeds, steps=4, features=everything), expected)


@settings(max_examples=60)
@given(sampling_params, st.integers(0, 1000))
def test_tokens_come_from_the_allowed_set(row: SamplingParams, seed: int) -> None:
    logits = torch.randn(1, 2, 16, generator=torch.Generator().manual_seed(seed))
    tokens = _sample(logits, [row], [seed], steps=40)[:, 0]
    for book in range(2):
        allowed = _find_allowed(logits[0, book], row)
        assert set(tokens[:, book].tolist()) <= allowed


def _find_allowed(logits: torch.Tensor, row: SamplingParams) -> set[int]:
    order = logits.argsort(descending=True).tolist()
    if row.temperature == 0:
        return set(order[:1])
    if row.top_p == 0:
        return set(order[: row.top_k])
    probabilities = (logits / row.temperature).softmax(-1).tolist()
    kept, reached = set(), 0.0
    for token in order:
        if reached > row.top_p + 1e-6:
            break
        kept.add(token)
        reached += probabilities[token]
    return kept


def test_frequencies_match_the_probabilities() -> None:
    """Chi-squared over 20 000 draws: 16 tokens, 15 degrees, 1 in 10^6 by chance above 56."""
    logits = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(5))
    tokens = _sample(logits, [SamplingParams(temperature=0.8, top_k=16)], [11], steps=20_000)
    counts = torch.bincount(tokens.flatten(), minlength=16)
    expected = (logits[0, 0] / 0.8).softmax(-1) * 20_000
    assert ((counts - expected) ** 2 / expected).sum() < 56


def test_impossible_tokens_are_never_drawn_even_at_the_ends() -> None:
    """The draws 0 and just below 1 must land on tokens of positive probability."""
    logits = torch.tensor([[[-50.0, 1.0, 2.0, -50.0]]])
    rows = [SamplingParams(top_k=2)]
    for uniform in (0.0, 1 - 2**-53):
        at = torch.full((1, 1), uniform, dtype=torch.float64)
        token = sample_tokens(
            logits, SamplingTensors.from_params(rows, CPU), SamplerFeatures.from_params(rows), at
        )
        assert token.item() in (1, 2)


def test_a_longer_clip_draws_the_same_numbers_first() -> None:
    short, long = NumpyDraws([3, 4]).next(10, 4), NumpyDraws([3, 4]).next(1500, 4)
    assert np.array_equal(short, long[:, :10])
    assert not np.array_equal(short[0], short[1])


def test_guidance_is_linear_and_1_changes_nothing() -> None:
    conditional, unconditional = torch.randn(2, 4, 8), torch.randn(2, 4, 8)
    one = guide_logits(conditional, unconditional, torch.ones(2, 1, 1))
    torch.testing.assert_close(one, conditional)
    scale = torch.tensor([2.0, 3.5])[:, None, None]
    expected = unconditional + scale * (conditional - unconditional)
    torch.testing.assert_close(guide_logits(conditional, unconditional, scale), expected)


@pytest.mark.parametrize("top_p", [1e-9, 0.5])
def test_top_p_always_keeps_the_likeliest(top_p: float) -> None:
    logits = torch.tensor([[[0.0, 9.0, 0.0]]])
    assert _sample(logits, [SamplingParams(top_p=top_p)], [1]).item() == 1
