"""Uniform numbers without PyTorch: those of `torch.rand` for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.model.native.draws import NumpyDraws
from tests.support.torch_draws import UniformDraws

SEEDS = [0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 7, 2**63 + 5, 2**64 - 1]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_are_those_of_pytorch(seed: int) -> None:
    """The state is renewed every 312 numbers."""
    ours, theirs = NumpyDraws([seed]), UniformDraws([seed])
    for steps, codebooks in [(1, 1), (3, 4), (1, 1), (400, 8), (2, 1)]:
        numbers = ours.next(steps, codebooks)
        assert numbers.shape == (1, steps, codebooks) and numbers.dtype == np.float64
        assert np.array_equal(numbers, np.asarray(theirs.next(steps, codebooks)))


@given(
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=4),
)
def test_every_seed_continues_over_windows(
    seeds: list[int], windows: list[tuple[int, int]]
) -> None:
    ours, theirs = NumpyDraws(seeds), UniformDraws(seeds)
    for steps, codebooks in windows:
        found, wanted = ours.next(steps, codebooks), theirs.next(steps, codebooks)
        assert np.array_equal(found, np.asarray(wanted))
