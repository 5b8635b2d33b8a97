"""Interface of an opened sound, whichever library decodes it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Protocol

from musicgen.audio.pcm import Pcm
from musicgen.errors.installing import describe_install
from musicgen.errors.sound_reasons import SoundReason

BLOCK_SAMPLES = 2**16
EXTRA = "containers"
_ALWAYS = "wav, flac, mp3, ogg, opus"
_WITH_EXTRA = "aiff, m4a, aac, mp4 or webm"


class SoundProblem(Exception):
    """Reason why a file cannot be read, without its name."""

    def __init__(self, problem: SoundReason, advice: str = "") -> None:
        super().__init__(problem)
        self.problem, self.advice = problem, advice


class Sound(Protocol):
    """Opened sound. `frames`: its samples of each channel, None before the last one is decoded."""

    rate: int
    channels: int
    frames: int | None

    def read_blocks(self) -> Iterator[Pcm]:
        """Iterate over all samples, at most `BLOCK_SAMPLES` at once. Raises: `SoundProblem`."""

    def close(self) -> None:
        """Release the decoder."""


def has_ffmpeg() -> bool:
    """Return whether the extra `containers` is installed."""
    return find_spec("av") is not None


def list_formats() -> str:
    """Return the advice that names the readable formats."""
    return f"Send {_ALWAYS}, {_WITH_EXTRA}." if has_ffmpeg() else f"Send {_ALWAYS} or aiff."


def require_ffmpeg(name: str) -> None:
    """Refuse a file that only ffmpeg reads where it is not installed. Raises: `SoundProblem`."""
    if not has_ffmpeg():
        install = f"Whoever runs this service can add it: {describe_install(EXTRA)}."
        advice = f"{install} {list_formats()}"
        raise SoundProblem(SoundReason("needs_extra", format=name), advice)
