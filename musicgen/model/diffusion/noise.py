"""Noise of one clip's diffusion, drawn from the clip's seed alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_STREAM = 0x6D6264
"""Separates this noise from the draws of tokens, which have the same seed."""


class SeededNoise:
    """Gaussian noise, the same for the same seed on every device and in every batch."""

    def __init__(self, seed: int) -> None:
        self._draws = np.random.Generator(np.random.PCG64([seed, _STREAM]))

    def draw(self, *shape: int) -> Tensor:
        """Draw the next float32 numbers of a shape, on the processor."""
        return torch.from_numpy(self._draws.standard_normal(shape, np.float32))
