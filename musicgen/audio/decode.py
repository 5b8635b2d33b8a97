"""Read audio files of callers. They are untrusted, so every step is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np

from musicgen.audio.decoder_process import DecoderProcess
from musicgen.audio.decoders import open_sound
from musicgen.audio.pcm import Pcm
from musicgen.audio.sound import Sound, SoundProblem, list_formats, require_ffmpeg
from musicgen.audio.sound_layout import NOT_AUDIO, find_layout
from musicgen.errors import InvalidContinuation, InvalidInputAudio
from musicgen.errors.counts import format_count
from musicgen.errors.request_reasons import RequestReason
from musicgen.errors.sound_reasons import SoundReason
from musicgen.request.limits import (
    INPUT_AUDIO_MAX_CHANNELS,
    INPUT_AUDIO_MAX_RATE,
    INPUT_AUDIO_MAX_SECONDS,
    INPUT_AUDIO_MIN_RATE,
)

MAX_VALUES = 2**29
"""Limit of samples times channels: 2 GiB of float32, over an hour of 48 kHz stereo."""


def read_audio(
    path: Path,
    *,
    max_seconds: float = INPUT_AUDIO_MAX_SECONDS,
    start: float = 0.0,
    stop: float | None = None,
    max_channels: int | None = None,
    is_foreign: bool = False,
) -> tuple[Pcm, int]:
    """Read an audio file from `start` to `stop` seconds (None is its end).

    The suffix of its name is ignored. More than `max_channels` channels are mixed to that number.

    The header is checked before memory is allocated, and samples are read block by block. A small
    file claiming to be long costs only its real length; a part of a long file costs only the part.

    The file of a stranger (`is_foreign`) is decoded in a process of its own: libraries of codecs
    have faults, and a crash or its memory must not end this process. ffmpeg always runs there.

    Returns (samples, channels) and the sample rate in Hz. Floating point files may exceed 1.
    Raises: `InvalidInputAudio` for a file missing, damaged, empty, not audio, longer than
    `max_seconds`, too large, with NaN or infinity, or outside the limits of channels and rates;
    `InvalidContinuation` for a file ending before `start`.
    """
    with _open(path, max_seconds, DecoderProcess if is_foreign else _open_carefully) as sound:
        # Nothing longer is read, and the samples of 1e308 seconds are no number.
        latest = max_seconds + 1
        rate, first = sound.rate, round(min(start, latest) * sound.rate)
        frames = sound.frames
        if frames is None:
            # One more than allowed, so that a longer sound is refused.
            frames = min(int(max_seconds * rate), MAX_VALUES // sound.channels) + 1
        elif first >= frames:
            _refuse_start(start, frames / rate)
        last = frames if stop is None else min(round(min(stop, latest) * rate), frames)
        channels = min(sound.channels, max_channels or sound.channels)
        blocks = _read_blocks(path, sound, None if stop is None else last, max_seconds)
        pcm, read = _collect(blocks, slice(first, last), channels)
        if not read and last:
            _refuse_nothing(path, sound)
        if read <= first < last:
            _refuse_start(start, read / rate)
        return pcm, rate


def measure_audio(path: Path, *, max_seconds: float = INPUT_AUDIO_MAX_SECONDS) -> float:
    """Return the seconds of an audio file: decode it whole, and keep no sample.

    It decodes in this process, which must be one that may be killed alone.

    Raises: `InvalidInputAudio` as `read_audio`.
    """
    with _open(path, max_seconds, open_sound) as sound:
        samples = sum(len(block) for block in _read_blocks(path, sound, None, max_seconds))
        if not samples:
            _refuse_nothing(path, sound)
        return samples / float(sound.rate)


@contextmanager
def _open(path: Path, max_seconds: float, open_decoder: Callable[[Path], Sound]) -> Iterator[Sound]:
    """Open a file and check its header. Raises: `InvalidInputAudio`."""
    try:
        # Opening a named pipe could block for ever, so only regular files are opened.
        if not path.is_file():
            raise _build_error(path, "is not an existing file")
        if path.stat().st_size == 0:
            raise _build_error(path, SoundReason("empty"))
        with closing(open_decoder(path)) as sound:
            _check_header(path, sound, max_seconds)
            yield sound
    except SoundProblem as error:
        raise _build_error(path, error.problem, error.advice) from error
    except OSError as error:
        raise _build_error(path, SoundReason("unreadable", why=str(error.strerror))) from error


def _open_carefully(path: Path) -> Sound:
    """Open a file in this process if libsndfile decodes it, otherwise in a child."""
    layout = find_layout(path)
    if not layout.demuxer:
        return open_sound(path, layout)
    require_ffmpeg(layout.name)
    return DecoderProcess(path)


def to_channels(pcm: Pcm, channels: int) -> Pcm:
    """Return `pcm` (samples, any) as (samples, `channels`).

    An equal number returns the same array. Otherwise the mean of the channels is repeated: mono to
    stereo duplicates, stereo to mono averages, and 5.1 to stereo becomes two equal channels
    (without interpreting its layout).
    """
    if pcm.shape[1] == channels:
        return pcm
    return np.repeat(pcm.mean(axis=1, keepdims=True, dtype=np.float32), channels, axis=1)


def _check_header(path: Path, sound: Sound, max_seconds: float) -> None:
    if sound.frames == 0:
        raise _build_error(path, SoundReason("no_audio"))
    if sound.channels > INPUT_AUDIO_MAX_CHANNELS:
        problem = SoundReason("too_many_channels", most=INPUT_AUDIO_MAX_CHANNELS)
        raise _build_error(path, problem, f"It has {sound.channels}.")
    if not INPUT_AUDIO_MIN_RATE <= sound.rate <= INPUT_AUDIO_MAX_RATE:
        limits = {"least": INPUT_AUDIO_MIN_RATE, "most": INPUT_AUDIO_MAX_RATE}
        problem = SoundReason("bad_rate", **limits)
        raise _build_error(path, problem, f"It has {sound.rate} Hz.")
    if sound.frames is not None:
        _check_length(path, sound, sound.frames, max_seconds)


def _check_length(path: Path, sound: Sound, frames: int, max_seconds: float) -> None:
    seconds = frames / sound.rate
    if seconds > max_seconds:
        reason = SoundReason("too_long", most=max_seconds)
        raise _build_error(path, reason, f"It has {seconds:.1f} s.")
    if frames * sound.channels > MAX_VALUES:
        size = (
            f"It has {format_count(frames, 'sample')} of {format_count(sound.channels, 'channel')}."
        )
        raise _build_error(path, SoundReason("too_large"), size)


def _collect(blocks: Iterator[Pcm], part: slice, channels: int) -> tuple[Pcm, int]:
    """Return a part of a sound that is read from its beginning, and the number of samples read.

    Seeking in a lossy file is not exact to the sample.
    """
    # Untouched pages of an empty array take no memory, so a false length costs nothing.
    pcm = np.empty((max(0, part.stop - part.start), channels), np.float32)
    read = 0
    for block in blocks:
        samples = to_channels(block[max(0, part.start - read) :], channels)
        at = max(0, read - part.start)
        pcm[at : at + len(samples)] = samples
        read += len(block)
    return pcm[: max(0, read - part.start)], read


def _refuse_nothing(path: Path, sound: Sound) -> NoReturn:
    """Refuse a sound without one sample: damaged if its header counts some, otherwise empty."""
    if sound.frames:
        raise _build_error(path, NOT_AUDIO, list_formats())
    raise _build_error(path, SoundReason("no_audio"))


def _refuse_start(start: float, end: float) -> NoReturn:
    problem = RequestReason("start_after_end", end=end)
    raise InvalidContinuation("continuation_start", problem, value=start)


def _read_blocks(path: Path, sound: Sound, stop: int | None, max_seconds: float) -> Iterator[Pcm]:
    """Iterate over the samples before `stop`.

    Raises: `InvalidInputAudio` for NaN or infinity, or too many samples.
    """
    read = 0
    if stop == 0:
        return
    for decoded in sound.read_blocks():
        block = decoded if stop is None else decoded[: stop - read]
        if not np.isfinite(block).all():
            raise _build_error(path, SoundReason("not_finite"))
        read += len(block)
        _check_length(path, sound, read, max_seconds)
        yield block
        if stop is not None and read >= stop:
            return


def _build_error(path: Path, problem: str, advice: str = "") -> InvalidInputAudio:
    return InvalidInputAudio("input_audio", problem, value=path.name, advice=advice)
