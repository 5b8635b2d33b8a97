"""Encode a clip as one growing file, played while the clip is still generated."""

from __future__ import annotations

import struct

from musicgen.audio.deterministic import read_riff_chunks
from musicgen.audio.dither import Dither
from musicgen.audio.encode import check_format, open_writer, prepare_samples
from musicgen.audio.memory_file import MemoryFile
from musicgen.audio.ogg_ends import separate_first_packet
from musicgen.audio.ogg_pages import read_pages
from musicgen.audio.pcm import Pcm, require_finite
from musicgen.audio.tags import AudioTags
from musicgen.audio.vorbis_fields import write_comments
from musicgen.errors import UnknownFormat
from musicgen.request import AudioFormat

LIVE_FORMATS = ("wav", "mp3", "ogg")
"""flac needs its length before the first byte, opus another sample rate."""
_UNKNOWN_LENGTH = struct.pack("<I", 0xFFFFFFFF)


class LiveEncoder:
    """Encoder for a clip in pieces; the bytes of all pieces together are one file.

    The header of a wav declares an unknown length, like that of a recorder writing to a pipe. An
    mp3 has no gapless information: some hundredths of a second of silence surround it. The tags of
    ogg and mp3 have mark and tempo. No stream is a loop: its end is not faded into its beginning.

    Raises: `UnknownFormat`, `InvalidBitDepth`.
    """

    def __init__(self, channels: int, audio_format: AudioFormat, tags: AudioTags) -> None:
        check_live_format(audio_format.output_format)
        check_format(audio_format)
        self._audio_format = audio_format
        self._format = audio_format.output_format
        self._dither = Dither()
        self._memory = MemoryFile()
        tags = tags.without_loop()
        self._comments: dict[str, str] = {}
        if self._format == "ogg":
            self._comments = tags.build_comments(0)
        self._sound = open_writer(self._memory, audio_format, channels, tags, self._comments)
        self._prefix: bytes | None = tags.to_id3() if self._format == "mp3" else b""
        self._has_pages = False

    def push(self, pcm: Pcm, last: bool) -> bytes:
        """Encode the next samples (samples, channels), limited to full scale.

        Raises: `GenerationError` for NaN or infinity.
        """
        require_finite(pcm)
        if not len(pcm) and not last:
            # The header is complete only after the first samples.
            return b""
        self._sound.write(prepare_samples(pcm.clip(-1, 1), self._audio_format, self._dither))
        if last:
            self._sound.close()
        data = self._memory.take()
        if self._format == "ogg":
            data = self._complete_ogg(data, last)
        if self._prefix is None or not data:
            return data
        prefix, self._prefix = self._prefix, None
        return prefix + (_set_unknown_length(data) if self._format == "wav" else data)

    def _complete_ogg(self, data: bytes, last: bool) -> bytes:
        """Return pages of a Vorbis stream with the comments, and two pages of sound at least."""
        data, self._comments = write_comments(data, self._comments), {}
        if last and not self._has_pages:
            return separate_first_packet(data)
        self._has_pages = self._has_pages or any(page.granule > 0 for page in read_pages(data))
        return data


def check_live_format(output_format: str) -> None:
    """Refuse a format that cannot be streamed.

    Raises: `UnknownFormat`.
    """
    if output_format not in LIVE_FORMATS:
        raise UnknownFormat.for_choice("output_format", output_format, LIVE_FORMATS)


def _set_unknown_length(wav: bytes) -> bytes:
    """Return the beginning of a wav with the largest lengths its header can hold."""
    data = next(start for name, start, _ in read_riff_chunks(wav) if name == b"data")
    return wav[:4] + _UNKNOWN_LENGTH + wav[8 : data - 4] + _UNKNOWN_LENGTH + wav[data:]
