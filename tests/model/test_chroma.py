"""Chroma features equal those of MusicGen's training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from musicgen.model.chroma import HOP, WINDOW, build_chroma_filters, compute_chroma
from musicgen.model.config import MusicGenConfig

NOTES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]


def test_filters_equal_transformers() -> None:
    from transformers.audio_utils import chroma_filter_bank

    theirs = torch.from_numpy(chroma_filter_bank(WINDOW, 12, 32000)).float()
    ours = torch.from_numpy(build_chroma_filters(32000, WINDOW, 12))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("semitone", range(12))
@pytest.mark.parametrize("octave", [0, 1, 2])
def test_a_tone_is_its_own_pitch_class(
    checkpoints: Callable[[str], Path], semitone: int, octave: int
) -> None:
    config = MusicGenConfig.from_folder(checkpoints("musicgen-melody"))
    frequency = 261.6256 * 2 ** (octave + semitone / 12)
    chroma = compute_chroma(_tone(frequency, 64000, 2), config)
    assert (chroma.sum(1) == 1).all()
    assert NOTES[int(chroma[2:-2].mean(0).argmax())] == NOTES[semitone]


@pytest.mark.parametrize("samples", [1, 100, WINDOW - 1, WINDOW, 40001])
def test_any_length_gives_frames(checkpoints: Callable[[str], Path], samples: int) -> None:
    config = MusicGenConfig.from_folder(checkpoints("musicgen-melody"))
    chroma = compute_chroma(np.random.default_rng(0).random((samples, 1), np.float32), config)
    assert chroma.shape[0] >= 1 and chroma.shape[1] == 12


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [5000, 40001, 130000])
@pytest.mark.parametrize("kind", ["noise", "tone", "quiet tone in noise", "silence"])
def test_chroma_equals_that_of_pytorch(
    checkpoints: Callable[[str], Path], channels: int, samples: int, kind: str
) -> None:
    config = MusicGenConfig.from_folder(checkpoints("musicgen-melody"))
    noise = np.random.default_rng(samples).standard_normal((samples, channels), np.float32)
    pcm = {
        "noise": noise,
        "tone": _tone(311.13, samples, channels),
        "quiet tone in noise": 0.01 * noise + 0.02 * _tone(700.0, samples, channels),
        "silence": np.zeros_like(noise),
    }[kind]
    assert np.array_equal(compute_chroma(pcm, config), _compute_by_pytorch(pcm))


def _tone(frequency: float, samples: int, channels: int) -> NDArray[np.float32]:
    tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(samples) / 32000)
    return np.stack([tone] * channels, axis=1).astype(np.float32)


def _compute_by_pytorch(pcm: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the chroma by the rules of audiocraft, in float32."""
    mono = torch.from_numpy(pcm).mean(dim=1)
    if (missing := WINDOW - len(mono)) > 0:
        mono = torch.nn.functional.pad(mono, (missing // 2, missing - missing // 2))
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(
        mono, WINDOW, HOP, window=window, center=True, pad_mode="reflect", return_complex=True
    )
    power = (spectrum / window.pow(2).sum().sqrt()).abs().pow(2)
    filters = torch.from_numpy(build_chroma_filters(32000, WINDOW, 12))
    return torch.nn.functional.one_hot((filters @ power).argmax(dim=0), 12).float().numpy()
