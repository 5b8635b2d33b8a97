"""Sound to send to a platform's server, and what came back from it."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

RATE = 32_000


def wav(seconds: float) -> bytes:
    """A tone of 440 Hz as a file."""
    time_axis = np.arange(round(seconds * RATE)) / RATE
    file = io.BytesIO()
    sf.write(file, 0.5 * np.sin(2 * np.pi * 440 * time_axis), RATE, format="WAV")
    return file.getvalue()


def tone_file(path: Path, seconds: float, rate: int = RATE, hertz: float = 440.0) -> Path:
    """Writes a tone, and returns where."""
    time_axis = np.arange(round(seconds * rate)) / rate
    sf.write(path, 0.3 * np.sin(2 * np.pi * hertz * time_axis), rate)
    return path


def data_uri(data: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(data).decode()}"


def bytes_of(uri: str) -> bytes:
    """The file in a data: URI."""
    return base64.b64decode(uri.partition(";base64,")[2], validate=True)


def decoded(uri: str, *kinds: str) -> tuple[Any, int]:
    """Samples (samples, channels) and rate of a data: URI of one of the MIME types."""
    assert uri.removeprefix("data:").partition(";")[0] in kinds
    pcm, rate = sf.read(io.BytesIO(bytes_of(uri)), always_2d=True)
    return pcm, int(rate)
