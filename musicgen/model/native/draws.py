"""Uniform numbers for sampling: those of PyTorch's generator, without PyTorch.

Source: MT19937 (Matsumoto and Nishimura 1998), seeded as in `init_genrand`. A float64 takes the 53
low bits of two 32-bit outputs, the first output being the high half.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_SEED_BITS = 0xFFFFFFFF
_FRACTION_BITS = 53


class NumpyDraws:
    """Uniform numbers in [0, 1), one generator per row, continued across the windows of a clip.

    The numbers equal `torch.rand(..., dtype=torch.float64)` of a generator with the same seed.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [_Generator(seed) for seed in seeds]

    def next(self, steps: int, codebooks: int) -> NDArray[np.float64]:
        """Draw the next numbers (rows, steps, codebooks)."""
        return np.stack(
            [
                generator.draw(steps * codebooks).reshape(steps, codebooks)
                for generator in self._generators
            ]
        )


class _Generator:
    """One seeded generator. It uses the low 32 bits of the seed, as PyTorch does."""

    def __init__(self, seed: int) -> None:
        self._bits = np.random.MT19937(0)
        self._bits._legacy_seeding(seed & _SEED_BITS)

    def draw(self, count: int) -> NDArray[np.float64]:
        words = self._bits.random_raw(2 * count).reshape(count, 2)
        fraction = (words[:, 0] << np.uint64(32) | words[:, 1]) & np.uint64(2**_FRACTION_BITS - 1)
        return np.ldexp(fraction.astype(np.float64), -_FRACTION_BITS)
