"""True peak of ITU-R BS.1770-5 annex 2: the peak of the waveform between the samples.

A windowed sinc interpolates seven values between two samples. Most blocks of a clip are too quiet
to matter: the largest gain of the interpolation bounds their true peak, and only the others are
interpolated.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm

OVERSAMPLING = 8
"""Twice the least of the standard: four values a sample miss 0.1 dB of hats and cymbals."""
HALF_TAPS = 16
"""Samples on either side that shape the waveform at one place."""
BLOCK_MAX = 16
_KAISER_BETA = 7.0
# The interpolated rows stay in the processor's cache, and the product in one thread.
_ROWS_AT_ONCE = 64

Peaks = NDArray[np.float64]


class BlockPeaks:
    """True peaks of the blocks of `pcm` (samples, channels), interpolated where they matter.

    Full scale of `pcm` must not exceed 1, so that no interpolation overflows. The last block may be
    shorter than `block` samples. The neighbours of a loop's ends are its other ends. `bounds`
    (blocks,) are upper bounds of the true peaks, `samples` the peaks of the samples, and `measured`
    true peaks where a block was measured, else the peaks of the samples.
    """

    def __init__(self, pcm: Pcm, block: int, loops: bool = False) -> None:
        blocks = -(-len(pcm) // block)
        after = blocks * block - len(pcm) + HALF_TAPS
        mode: Literal["wrap", "constant"] = "wrap" if loops else "constant"
        self._sound = np.pad(pcm.T, ((0, 0), (HALF_TAPS, after)), mode=mode)
        self._block = block
        inner = np.abs(self._sound[:, HALF_TAPS : HALF_TAPS + blocks * block]).max(axis=0)
        self.samples = _reduce_blocks(inner.reshape(blocks, block)).astype(np.float64)
        self.bounds = self._bound(loops)
        self.measured: Peaks = self.samples.copy()
        self._is_measured = np.zeros(blocks, bool)

    def __len__(self) -> int:
        return len(self.samples)

    def measure(self, above: float) -> Peaks:
        """Return the peaks of all blocks: (blocks,). Those above `above` are true peaks."""
        return self.measure_at(self.bounds > above)

    def measure_at(self, is_wanted: NDArray[np.bool_]) -> Peaks:
        """Return the peaks of all blocks: (blocks,). Those of the wanted ones are true peaks."""
        places = np.flatnonzero(is_wanted & ~self._is_measured)
        taps = _build_interpolation(self._block)
        for sound in self._sound:
            view = np.lib.stride_tricks.sliding_window_view(sound, len(taps))[:: self._block]
            for start in range(0, len(places), _ROWS_AT_ONCE):
                part = places[start : start + _ROWS_AT_ONCE]
                between = view[part] @ taps
                np.abs(between, out=between)
                self.measured[part] = np.maximum(self.measured[part], between.max(axis=1))
        self._is_measured[places] = True
        return self.measured

    def measure_highest(self) -> float:
        """Return the true peak of all blocks."""
        return float(self.measure(float(self.samples.max(initial=0.0))).max(initial=0.0))

    def _bound(self, loops: bool) -> Peaks:
        """Return upper bounds of the true peaks: (blocks,)."""
        gain = np.abs(_build_interpolation(self._block)).sum(axis=0).max()
        reach = -(-HALF_TAPS // self._block)
        around = np.pad(self.samples, reach, mode="wrap" if loops else "constant")
        view = np.lib.stride_tricks.sliding_window_view(around, 2 * reach + 1)
        bounds: Peaks = view.max(axis=1) * float(gain)
        return bounds


def measure_true_peak(pcm: Pcm, loops: bool = False) -> float:
    """Return the true peak of `pcm` (samples, channels), of any level; 1 is full scale."""
    highest = float(np.abs(pcm).max(initial=0.0))
    if not highest:
        return 0.0
    return BlockPeaks(pcm * np.float32(1 / highest), BLOCK_MAX, loops).measure_highest() * highest


def _reduce_blocks(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the maximum of each row of few columns, halving them: faster than numpy's `max`."""
    while (columns := rows.shape[1]) > 1:
        half = (columns + 1) // 2
        rows = np.maximum(rows[:, :half], rows[:, columns - half :])
    return rows[:, 0]


@cache
def _build_interpolation(block: int) -> NDArray[np.float32]:
    """Return the matrix from a block and its neighbours to the values between its samples.

    Shape (block + neighbours, block * (OVERSAMPLING - 1)).
    """
    rows = np.arange(block + 2 * HALF_TAPS)[:, None] - HALF_TAPS
    phases = np.arange(1, OVERSAMPLING) / OVERSAMPLING
    times = (np.arange(block)[:, None] + phases).reshape(1, -1)
    distance = rows - times
    inside = np.clip(1 - (distance / HALF_TAPS) ** 2, 0.0, None)
    window = np.i0(_KAISER_BETA * np.sqrt(inside)) / np.i0(_KAISER_BETA)
    taps = np.sinc(distance) * window * (np.abs(distance) <= HALF_TAPS)
    return np.asarray(taps, np.float32)
