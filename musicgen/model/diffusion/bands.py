"""Split sound into frequency bands spaced evenly in mel, and weigh the bands.

Each band is a difference of two windowed-sinc low-pass filters, so the bands add up to the sound.
Weighing bands is therefore one filter. Sound is filtered in blocks by FFT: memory does not grow
with the clip. Source: julius (`SplitBands`, `LowPassFilters`), as used by audiocraft.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

ZEROS = 8
"""Zero crossings of a filter on both sides together."""
_BLOCK = 2**16
_TINY = 1e-12


class BandFilters:
    """Filters of `count` bands at `sample_rate`; `taps` are (bands, length), odd and centred."""

    def __init__(self, sample_rate: float, count: int) -> None:
        cutoffs = [float(hz) / sample_rate for hz in _space_evenly(count, sample_rate / 2)]
        self.half = int(ZEROS / min(cutoffs) / 2) if cutoffs else 0
        time = torch.arange(-self.half, self.half + 1)
        window = torch.hann_window(2 * self.half + 1, periodic=False)
        lows = [torch.zeros(len(time))]
        for cutoff in cutoffs:
            low = 2 * cutoff * window * torch.special.sinc(2 * cutoff * time)
            lows.append(low / low.sum())
        lows.append((time == 0).float())
        self.taps = torch.stack(lows).diff(dim=0)

    def split(self, sound: Tensor) -> Iterator[Tensor]:
        """Yield the bands of `sound` (rows, samples) block by block: (bands, rows, samples)."""
        return _filter(sound, self.taps.to(sound.device), self.half)

    def mix(self, sound: Tensor, gains: Tensor) -> Tensor:
        """Return `sound` (rows, samples) with its bands weighed by `gains` (bands,)."""
        weighed = (gains.to(self.taps) @ self.taps)[None].to(sound.device)
        return torch.cat([block[0] for block in _filter(sound, weighed, self.half)], dim=-1)

    def measure_deviation(self, sound: Tensor) -> Tensor:
        """Return the standard deviation of each band over all rows, in float64 (bands,)."""
        sums = sum_squares = torch.zeros(len(self.taps), dtype=torch.float64)
        for block in self.split(sound):
            values = block.flatten(1).double()
            sums = sums + values.sum(1).cpu()
            sum_squares = sum_squares + values.square().sum(1).cpu()
        count = sound.numel()
        return ((sum_squares - sums.square() / count) / (count - 1)).clamp(min=0).sqrt()


def match_bands(filters: BandFilters, sound: Tensor, reference: Tensor) -> Tensor:
    """Give each band of `sound` (rows, samples) the level it has in `reference`.

    The level is one for all rows, so the sides of stereo keep their balance.
    """
    own = filters.measure_deviation(sound).clamp(min=_TINY)
    return filters.mix(sound, filters.measure_deviation(reference) / own)


def _space_evenly(count: int, highest: float) -> Tensor:
    """Return the `count - 1` frequencies between bands of equal width in mel (O'Shaughnessy)."""
    mels = torch.linspace(0, 2595 * math.log10(1 + highest / 700), count + 1)
    return (700 * (10 ** (mels / 2595) - 1))[1:-1]


def _filter(sound: Tensor, taps: Tensor, half: int) -> Iterator[Tensor]:
    """Yield `sound` (rows, samples) through each filter, in blocks (filters, rows, samples)."""
    size = 2 ** math.ceil(math.log2(max(_BLOCK, 8 * half)))
    padded = F.pad(sound[None], (half, half), mode="replicate")[0]
    spectra = torch.fft.rfft(taps, size)[:, None]
    useful = size - 2 * half
    for start in range(0, sound.shape[-1], useful):
        block = padded[:, start : start + size]
        shape = min(useful, sound.shape[-1] - start)
        # The filters are symmetric, so convolution and correlation are the same.
        whole = torch.fft.irfft(torch.fft.rfft(block, size) * spectra, size)
        yield whole[..., 2 * half : 2 * half + shape]
