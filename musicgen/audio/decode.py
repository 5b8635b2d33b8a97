"""Reads the audio that a caller sent: hostile until it has been read to its end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile as sf

from musicgen.audio.pcm import Pcm
from musicgen.errors import InvalidContinuation, InvalidInputAudio

READABLE = "wav, flac, mp3, ogg, opus or aiff"
MAX_VALUES = 2**29
"""Most samples times channels that are read: 2 GiB of float32, over an hour of 48 kHz stereo."""
_BLOCK_SAMPLES = 2**16
# libsndfile also opens headerless and exotic formats, and takes almost any bytes for some of them.
_CONTAINERS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "MP3", "OGG", "AIFF"})
# What libsndfile reports for a FLAC that was streamed; soundfile cannot read such a file's end.
_OPEN_LENGTH = 2**63 - 1


def read_audio(
    path: Path,
    *,
    max_seconds: float = 3600,
    start: float = 0.0,
    stop: float | None = None,
    most_channels: int | None = None,
) -> tuple[Pcm, int]:
    """Reads a file of any channel count, from `start` to `stop` seconds (None is its end); its
    name's suffix does not matter. More than `most_channels` are mixed to so many.

    The header is checked before memory is taken, and the samples are read block by block, so a
    small file that claims to be long costs no more than what it really holds, and a part of a long
    one no more than the part.

    Returns: (samples, channels) and the sample rate in Hz. Floating point files may exceed 1.
    Raises: `InvalidInputAudio` for what is missing, not audio, damaged, empty, longer than
    `max_seconds`, too large, or holds NaN or infinity; `InvalidContinuation` for one that has ended
    before `start`.
    """
    try:
        # Opening a named pipe would wait for ever, so only regular files are opened.
        if not path.is_file():
            raise _refused(path, "there is no such file")
        if path.stat().st_size == 0:
            raise _refused(path, "the file is empty")
        # Through a descriptor: given a name, soundfile would believe a suffix such as .raw.
        with (
            path.open("rb", buffering=0) as file,
            sf.SoundFile(file.fileno(), closefd=False) as sound,
        ):
            _check_header(path, sound, max_seconds)
            rate = sound.samplerate
            last = sound.frames if stop is None else round(stop * rate)
            wanted = slice(round(start * rate), min(last, sound.frames))
            channels = min(sound.channels, most_channels or sound.channels)
            return _read_samples(path, sound, wanted, channels), rate
    except sf.SoundFileError as error:
        raise _refused(path, f"not audio that can be read ({READABLE}), or damaged") from error
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}") from error


def to_channels(pcm: Pcm, channels: int) -> Pcm:
    """`pcm` (samples, any) as (samples, `channels`).

    The same count is returned as it is. Anything else is mixed to its mean and the mean is
    repeated: mono to stereo duplicates, stereo to mono averages, 5.1 to stereo becomes two equal
    channels (its layout is not interpreted).
    """
    if pcm.shape[1] == channels:
        return pcm
    return np.repeat(pcm.mean(axis=1, keepdims=True, dtype=np.float32), channels, axis=1)


def _check_header(path: Path, sound: sf.SoundFile, max_seconds: float) -> None:
    if sound.format not in _CONTAINERS:
        raise _refused(path, f"{sound.format} is not supported: send {READABLE}")
    if sound.frames == 0:
        raise _refused(path, "the file holds no audio")
    if sound.frames == _OPEN_LENGTH:
        raise _refused(path, "its header leaves its length open: save the file again")
    seconds = sound.frames / sound.samplerate
    if seconds > max_seconds:
        raise _refused(path, f"at most {max_seconds:g} s of audio, this is {seconds:.1f} s")
    if sound.frames * sound.channels > MAX_VALUES:
        raise _refused(path, f"too large: {sound.frames} samples of {sound.channels} channels")


def _read_samples(path: Path, sound: sf.SoundFile, wanted: slice, channels: int) -> Pcm:
    if wanted.start >= sound.frames:
        raise InvalidContinuation(
            "continuation_start",
            wanted.start / sound.samplerate,
            f"the clip is only {sound.frames / sound.samplerate:.2f} seconds long",
        )
    # Untouched pages of an empty array take no memory, whatever the header promised.
    pcm = np.empty((max(0, wanted.stop - wanted.start), channels), np.float32)
    read = 0
    # What comes before is read too: a lossy file cannot be entered in the middle to the sample.
    while read < wanted.stop:
        block = sound.read(min(_BLOCK_SAMPLES, wanted.stop - read), np.float32, always_2d=True)
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise _refused(path, "the samples hold NaN or infinity")
        kept = to_channels(block[max(0, wanted.start - read) :], channels)
        at = max(0, read - wanted.start)
        pcm[at : at + len(kept)] = kept
        read += len(block)
    if not read and wanted.stop:
        raise _refused(path, "the file holds no audio")
    return pcm[: max(0, read - wanted.start)]


def _refused(path: Path, why: str) -> InvalidInputAudio:
    return InvalidInputAudio("input_audio", path.name, why)
