"""The uniform numbers of PyTorch's generator, the oracle of `musicgen.model.native.draws`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class UniformDraws:
    def __init__(self, seeds: Sequence[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def next(self, steps: int, codebooks: int) -> Tensor:
        return torch.stack(
            [
                torch.rand(steps, codebooks, generator=generator, dtype=torch.float64)
                for generator in self._generators
            ]
        )
