"""Chroma features equal those of MusicGen's training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from musicgen.model.chroma import WINDOW, build_chroma_filters, compute_chroma
from musicgen.model.config import MusicGenConfig

NOTES = ["C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"]


def test_filters_equal_transformers() -> None:
    from transformers.audio_utils import chroma_filter_bank

    theirs = torch.from_numpy(chroma_filter_bank(WINDOW, 12, 32000)).float()
    torch.testing.assert_close(
        build_chroma_filters(32000, WINDOW, 12), theirs, atol=1e-6, rtol=1e-5
    )


@pytest.mark.parametrize("semitone", range(12))
@pytest.mark.parametrize("octave", [0, 1, 2])
def test_a_tone_is_its_own_pitch_class(
    checkpoints: Callable[[str], Path], semitone: int, octave: int
) -> None:
    config = MusicGenConfig.from_folder(checkpoints("musicgen-melody"))
    frequency = 261.6256 * 2 ** (octave + semitone / 12)
    time = torch.arange(64000) / 32000
    tone = 0.5 * torch.sin(2 * torch.pi * frequency * time)
    chroma = compute_chroma(torch.stack([tone, tone], dim=1), config)
    assert chroma.sum(1).eq(1).all()
    assert NOTES[int(chroma[2:-2].mean(0).argmax())] == NOTES[semitone]


@pytest.mark.parametrize("samples", [1, 100, WINDOW - 1, WINDOW, 40001])
def test_any_length_gives_frames(checkpoints: Callable[[str], Path], samples: int) -> None:
    config = MusicGenConfig.from_folder(checkpoints("musicgen-melody"))
    chroma = compute_chroma(torch.rand(samples, 1), config)
    assert chroma.shape[0] >= 1 and chroma.shape[1] == 12
