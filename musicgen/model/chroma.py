"""Melody conditioning features of MusicGen: the strongest pitch class of each frame.

Source: Copet et al. 2023, section 2.3; constants of audiocraft's chroma2music configuration
(window 2^14, hop 2^12 samples at 32 kHz). The filters follow Ellis, "Chroma feature analysis and
synthesis" (2007), as in librosa and transformers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from musicgen.model.config import MusicGenConfig

WINDOW = 2**14
HOP = 2**12
_REFERENCE_A0 = 27.5
_CENTRE_OCTAVE = 5.0
_OCTAVE_WIDTH = 2.0


def compute_chroma(pcm: Tensor, config: MusicGenConfig) -> Tensor:
    """Return the one-hot chroma (frames, bins) of PCM (samples, channels) at the model's rate."""
    mono = pcm.float().mean(dim=1)
    if mono.shape[0] < WINDOW:
        missing = WINDOW - mono.shape[0]
        mono = F.pad(mono, (missing // 2, missing - missing // 2))
    window = torch.hann_window(WINDOW, device=pcm.device)
    spectrum = torch.stft(
        mono, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    power = (spectrum / window.pow(2).sum().sqrt()).abs().pow(2)
    filters = build_chroma_filters(config.sample_rate, WINDOW, config.chroma_bins).to(pcm.device)
    strongest = (filters @ power).argmax(dim=0)
    return F.one_hot(strongest, config.chroma_bins).float()


def build_chroma_filters(sample_rate: int, window: int, bins: int) -> Tensor:
    """Return weights (bins, window // 2 + 1) to fold a power spectrum onto pitch classes from C."""
    frequencies = torch.arange(1, window, dtype=torch.float64) * sample_rate / window
    pitch = bins * torch.log2(frequencies / _REFERENCE_A0)
    # Frequency 0 has no pitch; place it well below the first bin.
    pitch = torch.cat([(pitch[:1] - 1.5 * bins), pitch])
    widths = torch.cat([(pitch[1:] - pitch[:-1]).clamp(min=1), torch.ones(1)])
    half = round(bins / 2)
    classes = torch.arange(bins, dtype=torch.float64)[:, None]
    distance = torch.remainder(pitch - classes + half + 10 * bins, bins) - half
    weights = torch.exp(-0.5 * (2 * distance / widths) ** 2)
    weights = F.normalize(weights, dim=0)
    octave = torch.exp(-0.5 * ((pitch / bins - _CENTRE_OCTAVE) / _OCTAVE_WIDTH) ** 2)
    weights = torch.roll(weights * octave, -3 * (bins // 12), dims=0)
    return weights[:, : 1 + window // 2].float().contiguous()
