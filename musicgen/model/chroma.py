"""Melody conditioning features of MusicGen: the strongest pitch class of each frame.

Source: Copet et al. 2023, section 2.3; constants of audiocraft's chroma2music configuration
(window 2^14, hop 2^12 samples at 32 kHz). The filters follow Ellis, "Chroma feature analysis and
synthesis" (2007), as in librosa and transformers. Imports no torch.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from musicgen.model.config import MusicGenConfig

WINDOW = 2**14
HOP = 2**12
_REFERENCE_A0 = 27.5
_CENTRE_OCTAVE = 5.0
_OCTAVE_WIDTH = 2.0
_FRAMES_AT_ONCE = 16

Floats = NDArray[np.float32]


def compute_chroma(pcm: Floats, config: MusicGenConfig) -> Floats:
    """Return the one-hot chroma (frames, bins) of PCM (samples, channels) at the model's rate."""
    mono = pcm.astype(np.float32).mean(axis=1, dtype=np.float32)
    if len(mono) < WINDOW:
        missing = WINDOW - len(mono)
        mono = np.pad(mono, (missing // 2, missing - missing // 2))
    padded = np.pad(mono, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    filters = build_chroma_filters(config.sample_rate, WINDOW, config.chroma_bins)
    strongest = [
        _find_strongest(frames[start : start + _FRAMES_AT_ONCE], filters)
        for start in range(0, len(frames), _FRAMES_AT_ONCE)
    ]
    return np.eye(config.chroma_bins, dtype=np.float32)[np.concatenate(strongest)]


def _find_strongest(frames: Floats, filters: Floats) -> NDArray[np.intp]:
    """Return the strongest pitch class of each of `frames` (count, WINDOW)."""
    window = _build_hann_window()
    # The scale of the window does not change the order of the pitch classes.
    spectrum = np.fft.rfft(frames * window.astype(np.float64), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return (power @ filters.T.astype(np.float64)).argmax(axis=1)


@functools.cache
def _build_hann_window() -> Floats:
    """Return the periodic Hann window."""
    phase = 2 * np.pi * np.arange(WINDOW) / WINDOW
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


@functools.cache
def build_chroma_filters(sample_rate: int, window: int, bins: int) -> Floats:
    """Return weights (bins, window // 2 + 1) to fold a power spectrum onto pitch classes from C."""
    frequencies = np.arange(1, window) * sample_rate / window
    pitch = bins * np.log2(frequencies / _REFERENCE_A0)
    # Frequency 0 has no pitch; place it well below the first bin.
    pitch = np.concatenate([pitch[:1] - 1.5 * bins, pitch])
    widths = np.concatenate([np.maximum(np.diff(pitch), 1), [1.0]])
    half = round(bins / 2)
    classes = np.arange(bins)[:, None]
    distance = np.mod(pitch - classes + half + 10 * bins, bins) - half
    weights = np.exp(-0.5 * (2 * distance / widths) ** 2)
    weights /= np.maximum(np.sqrt((weights**2).sum(axis=0)), 1e-12)
    octave = np.exp(-0.5 * ((pitch / bins - _CENTRE_OCTAVE) / _OCTAVE_WIDTH) ** 2)
    weights = np.roll(weights * octave, -3 * (bins // 12), axis=0)
    return np.ascontiguousarray(weights[:, : 1 + window // 2].astype(np.float32))
