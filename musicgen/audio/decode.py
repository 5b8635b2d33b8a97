"""Read audio files of callers. They are untrusted, so every step is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile as sf

from musicgen.audio.pcm import Pcm
from musicgen.errors import InvalidContinuation, InvalidInputAudio
from musicgen.request.limits import (
    INPUT_AUDIO_MAX_CHANNELS,
    INPUT_AUDIO_MAX_RATE,
    INPUT_AUDIO_MAX_SECONDS,
    INPUT_AUDIO_MIN_RATE,
)

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
    max_seconds: float = INPUT_AUDIO_MAX_SECONDS,
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
    `max_seconds`, too large, with NaN or infinity, or outside the limits of channels and rates;
    `InvalidContinuation` for a file ending before `start`.
    """
    with _open(path, max_seconds) as sound:
        rate = sound.samplerate
        last = sound.frames if stop is None else round(stop * rate)
        part = slice(round(start * rate), min(last, sound.frames))
        channels = min(sound.channels, max_channels or sound.channels)
        return _read_samples(path, sound, part, channels), rate


def measure_audio(path: Path, *, max_seconds: float = INPUT_AUDIO_MAX_SECONDS) -> float:
    """Return the seconds of an audio file: decode it whole, and keep no sample.

    Raises: `InvalidInputAudio` as `read_audio`.
    """
    with _open(path, max_seconds) as sound:
        samples = sum(len(block) for block in _read_blocks(path, sound, sound.frames))
        if not samples:
            raise _build_error(path, "holds no audio")
        return samples / float(sound.samplerate)


@contextmanager
def _open(path: Path, max_seconds: float) -> Iterator[sf.SoundFile]:
    """Open a file and check its header. Raises: `InvalidInputAudio`."""
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
            yield sound
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
    if sound.channels > INPUT_AUDIO_MAX_CHANNELS:
        problem = f"has more than {INPUT_AUDIO_MAX_CHANNELS} channels"
        raise _build_error(path, problem, f"It has {sound.channels}.")
    if not INPUT_AUDIO_MIN_RATE <= sound.samplerate <= INPUT_AUDIO_MAX_RATE:
        allowed = f"from {INPUT_AUDIO_MIN_RATE} to {INPUT_AUDIO_MAX_RATE} Hz"
        problem = f"must have a sample rate {allowed}"
        raise _build_error(path, problem, f"It has {sound.samplerate} Hz.")
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
    for block in _read_blocks(path, sound, part.stop):
        samples = to_channels(block[max(0, part.start - read) :], channels)
        at = max(0, read - part.start)
        pcm[at : at + len(samples)] = samples
        read += len(block)
    if not read and part.stop:
        raise _build_error(path, "holds no audio")
    return pcm[: max(0, read - part.start)]


def _read_blocks(path: Path, sound: sf.SoundFile, stop: int) -> Iterator[Pcm]:
    """Iterate over the samples before `stop`. Raises: `InvalidInputAudio` for NaN or infinity."""
    read = 0
    while read < stop:
        block = sound.read(min(_BLOCK_SAMPLES, stop - read), np.float32, always_2d=True)
        if not len(block):
            return
        if not np.isfinite(block).all():
            raise _build_error(path, "holds NaN or infinity")
        yield block
        read += len(block)


def _build_error(path: Path, problem: str, advice: str = "") -> InvalidInputAudio:
    return InvalidInputAudio("input_audio", problem, value=path.name, advice=advice)
