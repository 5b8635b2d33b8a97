"""Read audio files of callers. They are untrusted, so every step is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf

from musicgen.audio.pcm import Pcm
from musicgen.errors import InvalidContinuation, InvalidInputAudio

_ADVICE = "Send wav, flac, mp3, ogg, opus or aiff."
MAX_VALUES = 2**29
"""Limit of samples times channels: 2 GiB of float32, over an hour of 48 kHz stereo."""
_BLOCK_SAMPLES = 2**16
# libsndfile also opens headerless and exotic formats, some of them from almost any bytes.
_CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "MP3", "OGG", "AIFF"})
# Length reported by libsndfile for a streamed FLAC; soundfile cannot read the end of such a file.
_OPEN_LENGTH = 2**63 - 1


def read_audio(
    path: Path,
    *,
    max_seconds: float = 3600,
    start: float = 0.0,
    stop: float | None = None,
    max_channels: int | None = None,
) -> tuple[Pcm, int]:
    """Read an audio file from `start` to `stop` seconds (None is its end).

    The suffix of its name is ignored. More than `max_channels` channels are mixed to that number.

    The header is checked before memory is allocated, and samples are read block by block. A small
    file claiming to be long costs only its real length; a part of a long file costs only the part.

    Returns (samples, channels) and the sample rate in Hz. Floating point files may exceed 1.
    Raises: `InvalidInputAudio` for a file missing, damaged, empty, not audio, longer than
    `max_seconds`, too large, or with NaN or infinity; `InvalidContinuation` for a file ending
    before `start`.
    """
    try:
        # Opening a named pipe could block for ever, so only regular files are opened.
        if not path.is_file():
            raise _build_error(path, "is not an existing file")
        if path.stat().st_size == 0:
            raise _build_error(path, "is an empty file")
        # By descriptor: with a name, soundfile would trust a suffix such as .raw.
        with (
            path.open("rb", buffering=0) as file,
            sf.SoundFile(file.fileno(), closefd=False) as sound,
        ):
            _check_header(path, sound, max_seconds)
            rate = sound.samplerate
            last = sound.frames if stop is None else round(stop * rate)
            part = slice(round(start * rate), min(last, sound.frames))
            channels = min(sound.channels, max_channels or sound.channels)
            return _read_samples(path, sound, part, channels), rate
    except sf.SoundFileError as error:
        raise _build_error(path, "is not readable audio, or is damaged", _ADVICE) from error
    except OSError as error:
        raise _build_error(path, f"cannot be read: {error.strerror}") from error


def to_channels(pcm: Pcm, channels: int) -> Pcm:
    """Return `pcm` (samples, any) as (samples, `channels`).

    An equal number returns the same array. Otherwise the mean of the channels is repeated: mono to
    stereo duplicates, stereo to mono averages, and 5.1 to stereo becomes two equal channels
    (without interpreting its layout).
    """
    if pcm.shape[1] == channels:
        return pcm
    return np.repeat(pcm.mean(axis=1, keepdims=True, dtype=np.float32), channels, axis=1)


def _check_header(path: Path, sound: sf.SoundFile, max_seconds: float) -> None:
    if sound.format not in _CONTAINERS:
        raise _build_error(path, f"has an unsupported format, {sound.format}", _ADVICE)
    if sound.frames == 0:
        raise _build_error(path, "holds no audio")
    if sound.frames == _OPEN_LENGTH:
        raise _build_error(path, "has no length in its header", "Save the file again.")
    seconds = sound.frames / sound.samplerate
    if seconds > max_seconds:
        raise _build_error(path, f"is longer than {max_seconds:g} s", f"It has {seconds:.1f} s.")
    if sound.frames * sound.channels > MAX_VALUES:
        size = f"It has {sound.frames} samples of {sound.channels} channels."
        raise _build_error(path, "is too large", size)


def _read_samples(path: Path, sound: sf.SoundFile, part: slice, channels: int) -> Pcm:
    if part.start >= sound.frames:
        raise InvalidContinuation(
            "continuation_start",
            f"must be before the end of the clip at {sound.frames / sound.samplerate:.2f} seconds",
            value=part.start / sound.samplerate,
        )
    # Untouched pages of an empty array take no memory, so a false length costs nothing.
    pcm = np.empty((max(0, part.stop - part.start), channels), np.float32)
    read = 0
    # Samples before the part are read too: seeking in a lossy file is not exact to the sample.
    while read < part.stop:
        block = sound.read(min(_BLOCK_SAMPLES, part.stop - read), np.float32, always_2d=True)
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise _build_error(path, "holds NaN or infinity")
        samples = to_channels(block[max(0, part.start - read) :], channels)
        at = max(0, read - part.start)
        pcm[at : at + len(samples)] = samples
        read += len(block)
    if not read and part.stop:
        raise _build_error(path, "holds no audio")
    return pcm[: max(0, read - part.start)]


def _build_error(path: Path, problem: str, advice: str = "") -> InvalidInputAudio:
    return InvalidInputAudio("input_audio", problem, value=path.name, advice=advice)
