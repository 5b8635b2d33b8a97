"""Sinusoidal position embeddings of the decoder. Imports no torch."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def build_sinusoidal_positions(length: int, size: int) -> NDArray[np.float32]:
    """Return position embeddings (length, size): cosines first, then sines.

    Functions are computed in float64 and rounded, so every engine has the same bits on every
    machine. Rates and angles are float32, as in training.

    Source: Vaswani et al. 2017, section 3.5, in tensor2tensor's layout.
    """
    half = size // 2
    exponents = np.arange(half, dtype=np.float32) * np.float32(-math.log(10000) / (half - 1))
    rates = np.exp(exponents.astype(np.float64)).astype(np.float32)
    angles = (np.arange(length, dtype=np.float32)[:, None] * rates).astype(np.float64)
    table = np.zeros((length, size), np.float32)
    table[:, :half], table[:, half : 2 * half] = np.cos(angles), np.sin(angles)
    return table
