"""Sounds decoded by ffmpeg's libraries, through PyAV.

It must run in a process of its own: see `musicgen.audio.decoder_process`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from musicgen.audio.pcm import Pcm
from musicgen.audio.sound import BLOCK_SAMPLES, SoundProblem, list_formats
from musicgen.audio.sound_layout import NOT_AUDIO, SoundLayout
from musicgen.errors.sound_reasons import SoundReason

_CODECS = frozenset({"aac", "alac", "flac", "mp3", "mp3float", "opus", "libopus", "vorbis"})
# Of a video only the sound is opened, and ffmpeg must not follow references to other files.
_OPTIONS = {"codec_whitelist": ",".join(sorted(_CODECS)), "enable_drefs": "0"}
_GAPLESS = "iTunSMPB"
_PADDING_MAX = 4096
"""Most samples behind the declared end. With more of them the declaration is wrong."""


class FfmpegSound:
    """First sound of a file. Raises: `SoundProblem`; OSError."""

    frames: int | None = None

    def __init__(self, path: Path, layout: SoundLayout) -> None:
        import av

        self._errors = (av.FFmpegError, ValueError, MemoryError)
        self._file = path.open("rb")
        try:
            # A file object has no address that ffmpeg could follow.
            self._container: Any = av.open(self._file, format=layout.demuxer, options=_OPTIONS)
            self._blocks = self._decode(_choose_stream(self._container))
            self._first = next(self._blocks, None)
        except self._errors as error:
            self._file.close()
            raise SoundProblem(NOT_AUDIO, list_formats()) from error
        except SoundProblem:
            self._file.close()
            raise
        if self._first is None:
            self.close()
            raise SoundProblem(SoundReason("no_audio"))

    def read_blocks(self) -> Iterator[Pcm]:
        """Iterate over all samples. Raises: `SoundProblem`."""
        if self._first is not None:
            yield self._first
        try:
            yield from self._blocks
        except self._errors as error:
            raise SoundProblem(NOT_AUDIO, list_formats()) from error

    def close(self) -> None:
        """Close the file."""
        with suppress(Exception):
            self._container.close()
        self._file.close()

    def _decode(self, stream: Any) -> Iterator[Pcm]:
        """Yield blocks, and set rate and channels with the first one."""
        blocks = self._join(self._decode_frames(stream))
        first = next(blocks, None)
        if first is None:
            return
        yield from _cut(first, blocks, _find_length(self._container, stream, self.rate))

    def _decode_frames(self, stream: Any) -> Iterator[Pcm]:
        self.rate = self.channels = 0
        read, fault = 0, None
        for packet in self._container.demux(stream):
            if fault is not None and packet.size:
                break
            try:
                frames = packet.decode()
            except self._errors as error:
                # The last packet of a recording that was cut off is often incomplete.
                fault = error
                continue
            for frame in frames:
                channels = len(frame.layout.channels)
                if not read:
                    self.rate, self.channels = frame.sample_rate, channels
                if (frame.sample_rate, channels) != (self.rate, self.channels):
                    problem = SoundReason("changing")
                    raise SoundProblem(problem, "Save the file again.")
                read += frame.samples
                yield _to_pcm(frame, channels)
        else:
            fault = None if read else fault
        if fault is not None:
            at = SoundReason("damaged", seconds=round(read / self.rate, 2)) if read else NOT_AUDIO
            raise SoundProblem(at, "" if read else list_formats()) from fault

    def _join(self, frames: Iterator[Pcm]) -> Iterator[Pcm]:
        """Yield frames of some milliseconds in blocks."""
        waiting, count = [], 0
        for frame in frames:
            waiting.append(frame)
            count += len(frame)
            if count >= BLOCK_SAMPLES // 2:
                yield np.concatenate(waiting)
                waiting, count = [], 0
        if waiting:
            yield np.concatenate(waiting)


def _choose_stream(container: Any) -> Any:
    """Return the main stream of sound. Raises: `SoundProblem`."""
    stream = container.streams.best("audio")
    if stream is None:
        raise SoundProblem(SoundReason("no_audio"))
    codec = stream.codec_context
    if codec is None or codec.name not in _CODECS:
        unknown = SoundReason("unknown_codec")
        reason = unknown if codec is None else SoundReason("codec", codec=codec.name)
        raise SoundProblem(reason, list_formats())
    codec.thread_count = 1
    return stream


def _to_pcm(frame: Any, channels: int) -> Pcm:
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, channels).T
    if samples.dtype.kind == "i":
        samples = samples / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
    pcm: Pcm = np.ascontiguousarray(samples.T, np.float32)
    return pcm


def _find_length(container: Any, stream: Any, rate: int) -> int | None:
    """Return the samples that an MP4 declares: by iTunes' comment, or by its edit list."""
    if container.format.name.split(",")[0] != "mov":
        return None
    for metadata in (stream.metadata, container.metadata):
        fields = metadata.get(_GAPLESS, "").split()
        if len(fields) >= 4:
            with suppress(ValueError):
                return int(fields[3], 16)
    if not stream.duration:
        return None
    seconds = float(stream.duration * stream.time_base)
    return round(seconds * rate)


def _cut(first: Pcm, blocks: Iterator[Pcm], length: int | None) -> Iterator[Pcm]:
    """Yield the first `length` samples, or all of them if there are many more."""
    done, surplus = 0, []
    block: Pcm | None = first
    while block is not None:
        end = len(block) if length is None else min(len(block), max(0, length - done))
        if end:
            yield block[:end]
        if end < len(block):
            surplus.append(block[end:])
        done += len(block)
        if length is not None and done - length > _PADDING_MAX:
            yield from surplus
            surplus, length = [], None
        block = next(blocks, None)
