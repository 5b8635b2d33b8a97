"""Distance of a reconstruction from its original, as a loss and as a figure."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

STFT_SIZES = (2048, 1024, 512, 128)
MEL_SIZES = (2048, 1024, 512)
MEL_BANDS = 64
RATE = 32_000
LOG_FLOOR = 3e-3
WAVEFORM_WEIGHT = 2.0
BRIGHT_WEIGHT = 0.5
"""Extra weight of the upper half of the mel bands, because the waveform's error neglects hats."""


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the loss of waveforms (batch, samples); soft clips count as much as loud ones."""
    level = target.pow(2).mean(1, keepdim=True).sqrt().clamp(min=1e-3)
    output, target = output / level, target / level
    return WAVEFORM_WEIGHT * (output - target).abs().mean() + spectral_distance(output, target)


def spectral_distance(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean over resolutions of magnitude, mel and spectral convergence errors."""
    total = torch.zeros(())
    for size in STFT_SIZES:
        ours, theirs = _magnitude(output, size), _magnitude(target, size)
        logs = (_log(ours) - _log(theirs)).abs().mean()
        convergence = (ours - theirs).norm() / theirs.norm().clamp(min=1e-6)
        total = total + (0.5 * logs + convergence) / len(STFT_SIZES)
        if size in MEL_SIZES:
            bands = _mel_bands(size)
            error = (_log(bands @ ours) - _log(bands @ theirs)).abs()
            bright = error[:, MEL_BANDS // 2 :].mean()
            total = total + (error.mean() + BRIGHT_WEIGHT * bright) / len(MEL_SIZES)
    return total


def si_sdr(output: Tensor, target: Tensor) -> Tensor:
    """Return the scale-invariant SDR of each clip in dB (Le Roux et al. 2019)."""
    scale = (output * target).sum(1, keepdim=True) / target.pow(2).sum(1, keepdim=True)
    signal = scale * target
    noise = (output - signal).pow(2).sum(1).clamp(min=1e-12)
    return 10 * torch.log10(signal.pow(2).sum(1).clamp(min=1e-12) / noise)


def _magnitude(waveform: Tensor, size: int) -> Tensor:
    window = torch.hann_window(size)
    spectrum = torch.stft(waveform, size, size // 4, window=window, return_complex=True)
    return (spectrum.real.pow(2) + spectrum.imag.pow(2) + 1e-12).sqrt() / window.norm()


def _log(magnitude: Tensor) -> Tensor:
    return (magnitude + LOG_FLOOR).log()


@functools.cache
def _mel_bands(size: int) -> Tensor:
    """Return the filters (bands, bins): triangles, evenly spaced in mel, each of sum 1."""
    top = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), MEL_BANDS + 2) / 2595) - 1)
    frequency = torch.linspace(0, RATE / 2, size // 2 + 1)
    width = RATE / size
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rise = (frequency - low) / (middle - low).clamp(min=width)
    fall = (high - frequency) / (high - middle).clamp(min=width)
    bands = torch.minimum(rise, fall).clamp(min=0)
    return bands / bands.sum(1, keepdim=True).clamp(min=1e-6)
