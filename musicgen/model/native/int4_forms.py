"""int4 weights of the native library, built by numpy: the same bytes on every machine.

Each group of 16 inputs of an output has its own scale, as few levels need: that of the output times
a factor, an int8 number. Sums of products are therefore integers. A weight is then
`scale * factor * level`, with levels from -8 to 7. This module imports no torch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 16
"""Outputs per block."""
GROUP, SLICE = 16, 64
"""Inputs with one factor; inputs of a slice, the unit of the layout."""
SLICE_BYTES = 64 + SLICE * BLOCK // 2
"""A line of factors, and the levels."""
LEAST, MOST = -8, 7
_FACTOR_MOST = 127
_SMALLEST = np.float32(1e-12)
_EXTREMES = (-8.5, -8.0, -7.5, -7.0, -6.5)
"""Levels tried for the value of largest magnitude in a group; -8.5 clips it, to suit the others."""
_PIECE = 2**20
"""Weights packed at a time, to bound the memory."""


def pack_int4(weight: Floats) -> tuple[NDArray[np.uint8], Floats]:
    """Pack a weight (outputs, inputs).

    Returns: the bytes (blocks, slices, `SLICE_BYTES`) and the scales (blocks * 16), padded. The
    first 64 bytes of a slice are the factors [group][output]. Byte [line][output][j] of the others
    has the level of input 8 line + j in its lower half and of 8 line + 4 + j in its upper half,
    both plus 8.
    """
    outputs, inputs = weight.shape
    blocks, slices = -(-outputs // BLOCK), -(-inputs // SLICE)
    packed = np.empty((blocks, slices, SLICE_BYTES), np.uint8)
    scales = np.zeros(blocks * BLOCK, np.float32)
    step = max(_PIECE // (slices * SLICE * BLOCK), 1)
    for first in range(0, blocks, step):
        part = weight[first * BLOCK : (first + step) * BLOCK]
        padded = np.pad(part, ((0, -len(part) % BLOCK), (0, slices * SLICE - inputs)))
        levels, factors, scale = quantize_int4(padded)
        packed[first : first + step] = _arrange(levels, factors)
        scales[first * BLOCK : first * BLOCK + len(scale)] = scale
    return packed, scales


def quantize_int4(weight: Floats) -> tuple[NDArray[np.int8], NDArray[np.int8], Floats]:
    """Quantize a weight (outputs, inputs), with inputs in whole groups.

    Returns: levels (outputs, inputs), factors (outputs, groups) and scales (outputs). The scale is
    NaN where a weight is not finite: no level could show that.
    """
    is_finite = np.asarray(np.isfinite(weight).all(axis=1))
    finite = np.where(is_finite[:, None], weight, 0)
    # Squares of very large or small weights would leave the range of float32.
    largest = np.maximum(np.abs(finite).max(axis=1), _SMALLEST)
    groups = (finite / largest[:, None]).reshape(len(weight), -1, GROUP)
    steps = _choose_steps(groups)
    scale = np.maximum(np.abs(steps).max(axis=1), _SMALLEST) / np.float32(_FACTOR_MOST)
    factors = np.rint(steps / scale[:, None])
    steps = factors * scale[:, None]
    levels = _round_levels(groups, steps[..., None])
    scale = np.where(is_finite, scale * largest, np.float32(np.nan))
    return levels.reshape(weight.shape).astype(np.int8), factors.astype(np.int8), scale


def _choose_steps(groups: Floats) -> Floats:
    """Return the signed distance of levels for each group (outputs, groups) of least square error.

    The value of largest magnitude gets a negative level, because those reach further. After
    rounding to levels, the step is the least-squares one for them.
    """
    at = np.abs(groups).argmax(axis=2)[..., None]
    extreme = np.take_along_axis(groups, at, axis=2)
    best = np.zeros(groups.shape[:2], np.float32)
    gained = np.zeros(groups.shape[:2], np.float32)
    for level in _EXTREMES:
        levels = _round_levels(groups, extreme / np.float32(level))
        product = _add_up(groups * levels)
        square = _add_up(np.square(levels, out=levels))
        # The best step leaves the error |w|^2 - product^2 / square.
        gain = product * product / np.maximum(square, 1)
        is_better = gain > gained
        best = np.where(is_better, product / np.maximum(square, 1), best)
        gained = np.where(is_better, gain, gained)
    return best


def _add_up(groups: Floats) -> Floats:
    """Return the sum of each group, added in the same order on every machine, unlike numpy's."""
    while groups.shape[2] > 1:
        half = groups.shape[2] // 2
        groups = groups[..., :half] + groups[..., half:]
    return groups[..., 0]


def _round_levels(groups: Floats, steps: Floats) -> Floats:
    """Return the nearest levels; those of a step of nearly 0 are 0."""
    is_step = np.abs(steps) > _SMALLEST
    inverse = np.divide(np.float32(1), steps, out=np.zeros_like(steps), where=is_step)
    levels = groups * inverse
    np.rint(levels, out=levels)
    return levels.clip(LEAST, MOST, out=levels)


def _arrange(levels: NDArray[np.int8], factors: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Return levels and factors of whole blocks and slices as bytes."""
    blocks, slices = len(levels) // BLOCK, levels.shape[1] // SLICE
    numbers = (levels + np.int8(-LEAST)).view(np.uint8)
    lines = numbers.reshape(blocks, BLOCK, slices, SLICE // 8, 2, 4).transpose(0, 2, 3, 1, 4, 5)
    halves = lines[..., 0, :] | lines[..., 1, :] << np.uint8(4)
    heads = factors.view(np.uint8).reshape(blocks, BLOCK, slices, -1).transpose(0, 2, 3, 1)
    flat = (blocks, slices, -1)
    return np.concatenate((heads.reshape(flat), halves.reshape(flat)), axis=2)
