"""Look-ahead limiter for the true peak of a clip, whole or in pieces.

One gain for all channels only falls below 1. It is computed for blocks of half a millisecond from
their true peaks. It reaches its value before a peak, holds it for half a period of
30 Hz, so the waveform of a bass keeps its shape, and then rises by a constant slope in decibels.
The design follows D. Giannoulis, M. Massberg and J. D. Reiss, "Digital Dynamic Range Compressor
Design", Journal of the Audio Engineering Society 60 (6), 2012: smoothing after the logarithm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.pcm import Pcm
from musicgen.audio.true_peak import BLOCK_MAX, HALF_TAPS, BlockPeaks

LOOK_AHEAD_SECONDS = 0.005
HOLD_SECONDS = 0.012
"""With the look-ahead, half a period of 30 Hz: between its peaks nothing is released."""
RELEASE_DB_PER_SECOND = 400.0
AIM_DB = 0.05
"""The aim is lower than the ceiling by this: the gain moves while the waveform is interpolated."""
_BLOCKS_AT_ONCE = 2**12

Curve = NDArray[np.float64]


class GainCurve:
    """Gain at the borders of blocks, from their true peaks in pieces.

    `blocks_per_second` sets the times. Reductions are in decibels, 0 or more.
    """

    def __init__(self, blocks_per_second: float) -> None:
        ahead = max(1, round(LOOK_AHEAD_SECONDS * blocks_per_second))
        # The interpolation at a place reaches into the block before and the block behind, so a
        # border needs the peaks of two blocks on either side.
        self._before = 2 + round(HOLD_SECONDS * blocks_per_second)
        self._behind = 1 + ahead
        self._slope = RELEASE_DB_PER_SECOND / blocks_per_second
        self._weights = np.hanning(ahead + 3)[1:-1]
        self._weights /= self._weights.sum()
        self._needed = np.zeros(self._before + ahead)
        self._released, self._level = np.zeros(0), 0.0

    @property
    def reach(self) -> int:
        """Number of blocks after a border that decide its gain."""
        return self._behind + 1

    def push(self, reductions: Curve, last: bool) -> Curve:
        """Return the gain at the next borders, from 0 to 1, for the needed reductions of blocks.

        The borders of all pieces are one more than the blocks.
        """
        behind = np.zeros(self.reach if last else 0)
        needed = np.concatenate([self._needed, reductions, behind])
        borders = len(needed) - self._before - self._behind
        if borders <= 0:
            self._needed = needed
            return np.zeros(0)
        self._needed = needed[borders:]
        held = _slide_maximum(needed, self._before + self._behind + 1)
        fall = self._slope * np.arange(1, borders + 1)
        released = np.maximum.accumulate(np.maximum(held + fall, self._level)) - fall
        self._level = max(0.0, float(released[-1]))
        # Each border averages values that all look ahead as far as itself, so none is too small.
        released = np.concatenate([self._released, released.clip(0)])
        taps = len(self._weights)
        self._released = released[max(0, len(released) - taps + 1) :]
        if len(released) < taps:
            return np.zeros(0)
        gain: Curve = 10 ** (np.convolve(released, self._weights, "valid") / -20)
        return gain


def plan_gain(peaks: Curve, ceiling: float, blocks_per_second: float, loops: bool = False) -> Curve:
    """Return the gain at the borders of all blocks with the true `peaks` (blocks,): (blocks + 1,).

    Between two borders the gain moves linearly. The gain of a loop joins at its ends.
    """
    if peaks.max(initial=0.0) <= ceiling:
        return np.ones(len(peaks) + 1)
    needed = 20 * np.log10(np.maximum(peaks / ceiling, 1.0))
    curve = GainCurve(blocks_per_second)
    if not loops:
        return curve.push(needed, last=True)
    seconds = HOLD_SECONDS + float(needed.max()) / RELEASE_DB_PER_SECOND + 2 * LOOK_AHEAD_SECONDS
    around = 4 + round(seconds * blocks_per_second)
    borders = curve.push(np.pad(needed, around, mode="wrap"), last=True)
    return borders[around : around + len(peaks) + 1]


def apply_gain(pcm: Pcm, gain: Curve, block: int) -> Pcm:
    """Return `pcm` with the gain of `plan_gain`; where that is 1, samples stay bit for bit."""
    result = pcm.copy()
    ramp = (np.arange(block, dtype=np.float32) / np.float32(block))[None]
    borders = gain.astype(np.float32)
    for start in range(0, len(gain) - 1, _BLOCKS_AT_ONCE):
        part = borders[start : start + _BLOCKS_AT_ONCE + 1]
        if part.min() < 1:
            moving = part[:-1, None] + np.diff(part)[:, None] * ramp
            target = result[start * block : (start + len(part) - 1) * block]
            target *= moving.reshape(-1, 1)[: len(target)]
    return result


class LiveLimiter:
    """Limiter of a sound in pieces, at most `delay` samples behind it.

    The pieces together are those of the whole sound with the same ceiling.
    """

    def __init__(self, channels: int, sample_rate: int, ceiling: float) -> None:
        self._block = BLOCK_MAX
        self._aim = ceiling * 10 ** (-AIM_DB / 20)
        self._curve = GainCurve(sample_rate / self._block)
        self._sound = np.zeros((HALF_TAPS, channels), np.float32)
        # Blocks of `_sound` behind its first HALF_TAPS samples that were measured already.
        self._measured = 0
        self._gain = np.zeros(0)

    @property
    def delay(self) -> int:
        """Samples by which the sound is late, at most."""
        return (self._curve.reach + 2) * self._block + HALF_TAPS

    def push(self, pcm: Pcm, last: bool) -> Pcm:
        """Return the next limited samples; with `last`, all those that are left."""
        self._sound = np.concatenate([self._sound, pcm])
        have = len(self._sound) - HALF_TAPS
        known = -(-have // self._block) if last else max(0, have - HALF_TAPS) // self._block
        reductions = self._measure(self._measured, known)
        self._measured = max(self._measured, known)
        self._gain = np.concatenate([self._gain, self._curve.push(reductions, last)])
        if len(self._gain) < 2:
            return self._sound[:0]
        blocks = len(self._gain) - 1
        sound = self._sound[HALF_TAPS : HALF_TAPS + blocks * self._block]
        limited = apply_gain(sound, self._gain, self._block)
        self._gain = self._gain[-1:]
        self._sound = self._sound[len(sound) :]
        self._measured -= blocks
        return limited

    def _measure(self, start: int, stop: int) -> Curve:
        """Return the reductions needed by the blocks from `start` to `stop`."""
        if stop <= start:
            return np.zeros(0)
        first = start * self._block
        around = self._sound[first : stop * self._block + 2 * HALF_TAPS]
        highest = max(1.0, float(np.abs(around).max(initial=0.0)))
        peaks = BlockPeaks(around * np.float32(1 / highest), self._block)
        # The first and last blocks are the neighbours of those that are measured.
        skip = HALF_TAPS // self._block
        found = peaks.measure(self._aim / highest)[skip : skip + stop - start] * highest
        reductions: Curve = 20 * np.log10(np.maximum(found / self._aim, 1.0))
        return reductions


def _slide_maximum(values: Curve, width: int) -> Curve:
    """Return the maximum of each `width` neighbours: (len(values) - width + 1,)."""
    reached = 1
    while reached < width:
        step = min(reached, width - reached)
        values = np.maximum(values[:-step], values[step:])
        reached += step
    return values
