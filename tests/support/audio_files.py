"""Audio files as callers send them, for the tests of `musicgen.audio.decode`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicgen.audio.decode import read_audio
from musicgen.audio.pcm import Pcm
from musicgen.errors import InvalidInputAudio

KINDS = {
    "wav": ("WAV", "PCM_16"),
    "wav-float": ("WAV", "FLOAT"),
    "wav-extensible": ("WAVEX", "PCM_24"),
    "flac": ("FLAC", "PCM_24"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "aiff": ("AIFF", "PCM_16"),
}
LOSSLESS = ["wav", "wav-float", "wav-extensible", "flac", "aiff"]
SECRET_FOLDER = "folder-of-another-customer"


def make_sines(samples: int, channels: int, rate: int) -> Pcm:
    """Return a sine in each channel, at a frequency of its own; low enough for 8 kHz."""
    hz = 200.0 * np.arange(1, channels + 1)
    time = np.arange(samples)[:, None] / rate
    return (0.3 * np.sin(2 * np.pi * hz * time)).astype(np.float32)


def encode_file(kind: str, pcm: Pcm, rate: int) -> bytes:
    """Return a file of one of `KINDS`."""
    file = io.BytesIO()
    container, codec = KINDS[kind]
    sf.write(file, pcm, rate, format=container, subtype=codec)
    return file.getvalue()


def assert_refused(path: Path, reason: str | None = None, **options: float) -> None:
    """Check that reading names the field and the file, but not its folder."""
    with pytest.raises(InvalidInputAudio, match=reason) as caught:
        read_audio(path, **options)
    assert caught.value.field == "input_audio"
    assert caught.value.value == path.name
    assert SECRET_FOLDER not in str(caught.value)


def make_flac_claiming(samples: int) -> bytes:
    """Return a short FLAC with `samples` in its header: the last 36 bits of eight bytes."""
    flac = bytearray(encode_file("flac", make_sines(48_000, 2, 48_000), 48_000))
    kept = int.from_bytes(flac[18:26], "big") >> 36 << 36
    flac[18:26] = (kept | samples).to_bytes(8, "big")
    return bytes(flac)
