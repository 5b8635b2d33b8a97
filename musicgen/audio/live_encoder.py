"""Sound as one growing file: what a player reads while the clip is still being made."""

from __future__ import annotations

import struct

from musicgen.audio.deterministic import riff_chunks
from musicgen.audio.encode import check_format, open_writer, stored_codec, stored_samples
from musicgen.audio.memory_file import Drain
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.tags import AudioTags
from musicgen.errors import UnknownFormat
from musicgen.request import AudioFormat

LIVE_FORMATS = ("wav", "mp3", "ogg")
"""flac and opus need their length, or another rate, before the first byte."""
_UNKNOWN_LENGTH = struct.pack("<I", 0xFFFFFFFF)


class LiveEncoder:
    """Encodes a clip piece by piece; the bytes of all pieces, joined, are one file.

    A wav says in its header that its length is unknown, as recorders that write to a pipe do. An
    mp3 has no gapless information: players hear some hundredths of a second of silence around it.

    Raises: `UnknownFormat`, `InvalidBitDepth`.
    """

    def __init__(self, channels: int, audio_format: AudioFormat, tags: AudioTags) -> None:
        check_live_format(audio_format.output_format)
        check_format(audio_format)
        self._format = audio_format.output_format
        self._codec = stored_codec(audio_format)
        self._drain = Drain()
        self._sound = open_writer(self._drain, audio_format, channels, tags)
        self._preface: bytes | None = tags.to_id3() if self._format == "mp3" else b""

    def push(self, pcm: Pcm, last: bool) -> bytes:
        """The next samples (samples, channels), limited to full scale, as bytes of the file.

        Raises: `GenerationError` for NaN or infinity.
        """
        require_finite(pcm)
        if not len(pcm) and not last:
            # The header is complete only with the first samples.
            return b""
        self._sound.write(stored_samples(pcm.clip(-1, 1), self._codec))
        if last:
            self._sound.close()
        data = self._drain.take()
        if self._preface is None or not data:
            return data
        preface, self._preface = self._preface, None
        return preface + (_with_unknown_length(data) if self._format == "wav" else data)


def check_live_format(output_format: str) -> None:
    """Raises: `UnknownFormat` for one that cannot be played before it is complete."""
    if output_format not in LIVE_FORMATS:
        raise UnknownFormat.for_choice("output_format", output_format, LIVE_FORMATS)


def _with_unknown_length(wav: bytes) -> bytes:
    """The beginning of a wav with the greatest lengths that its header can say."""
    data = next(start for name, start, _ in riff_chunks(wav) if name == b"data")
    return wav[:4] + _UNKNOWN_LENGTH + wav[8 : data - 4] + _UNKNOWN_LENGTH + wav[data:]
