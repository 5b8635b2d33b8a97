"""Find the frames of an MP3, and build the one that counts them.

The length of an MP3 stands in an optional first frame, by Xing, LAME or Fraunhofer. Without it
decoders estimate the length from the first bitrate, and files that were joined have the length of
the first one. Sources: ISO/IEC 11172-3 and 13818-3; the Xing and LAME info tags.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from musicgen.audio.sound import SoundProblem
from musicgen.errors.sound_reasons import SoundReason
from musicgen.request.limits import INPUT_AUDIO_MAX_SECONDS

FILE_TYPES = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]")
"""Beginning of a frame of any MPEG audio layer."""
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_KBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MISLEADING_MAX = 20_000
"""Limit of beginnings of frames that are none: a damaged or hostile file."""
_MARGIN_SECONDS = 1.0
"""An encoder's delay and padding, which are no sound."""
_INFO_FIELDS = ((1, 4), (2, 4), (4, 100), (8, 4))
"""Flags and bytes of the fields before LAME's: frames, bytes, seek table, quality."""
_INFO_KBITS = {True: 5, False: 8}
"""Index of 64 kbit/s. Such a frame has just the room for the info of any stream."""


@dataclass(frozen=True)
class Frame:
    """Frame at the byte `start`; `stream` is equal for frames that one decoder can join."""

    start: int
    size: int
    samples: int
    info_at: int
    stream: tuple[int, int, int, int]
    """Version, layer, rate in Hz and channels."""


@dataclass(frozen=True)
class Mp3Piece:
    """Frames of one MP3: byte ranges in the file, after `head`. `samples`: those of all frames."""

    head: bytes
    ranges: tuple[tuple[int, int], ...]
    samples: int


def read_frame(data: bytes, at: int) -> Frame | None:
    """Return the frame whose header is at a byte, or None."""
    if not FILE_TYPES.match(data, at) or at + 4 > len(data):
        return None
    first, second, third = data[at + 1 : at + 4]
    version, layer = first >> 3 & 3, 4 - (first >> 1 & 3)
    if second >> 2 & 3 == 3:
        return None
    is_first = version == 3
    rate = _RATES[version][second >> 2 & 3]
    bits = 1000 * _KBITS[is_first, layer][(second >> 4) - 1]
    padding = second >> 1 & 1
    if layer == 1:
        samples, size = 384, (12 * bits // rate + padding) * 4
    else:
        samples = 1152 if is_first or layer == 2 else 576
        size = samples // 8 * bits // rate + padding
    channels = 1 if third >> 6 == 3 else 2
    side = {(True, 2): 32, (True, 1): 17, (False, 2): 17, (False, 1): 9}[is_first, channels]
    checksum = 0 if first & 1 else 2
    return Frame(at, size, samples, at + 4 + checksum + side, (version, layer, rate, channels))


def find_pieces(data: bytes, start: int) -> list[Mp3Piece]:
    """Return the MP3s that are joined in `data` from the byte `start`; usually one.

    Raises: `SoundProblem` for a file with a long part that is not MP3, or a sound too long.
    """
    pieces: list[Mp3Piece] = []
    run: _Run | None = None
    seconds = 0.0
    for frame in _iterate_frames(data, start):
        seconds += frame.samples / frame.stream[2]
        if seconds > INPUT_AUDIO_MAX_SECONDS + _MARGIN_SECONDS:
            raise SoundProblem(SoundReason("too_long", most=INPUT_AUDIO_MAX_SECONDS))
        if _is_info(data, frame):
            pieces += run.build(data) if run else []
            run = _Run(info=frame)
        elif run is None or (run.first is not None and run.first.stream != frame.stream):
            pieces += run.build(data) if run else []
            run = _Run()
        if run.info is not frame:
            run.add(frame)
    return pieces + (run.build(data) if run else [])


def _iterate_frames(data: bytes, start: int) -> Iterator[Frame]:
    """Yield all whole frames. What is between them, such as tags, is skipped."""
    at, stream, misleading = start, None, 0
    while at < len(data):
        frame = read_frame(data, at)
        if frame is not None and (frame.stream == stream or _is_followed(data, frame)):
            if at + frame.size > len(data):
                return
            yield frame
            at, stream = at + frame.size, frame.stream
            continue
        stream = None
        after_tag = skip_tag(data, at)
        if after_tag > at:
            at = after_tag
            continue
        misleading += 1
        if misleading > _MISLEADING_MAX:
            raise SoundProblem(SoundReason("damaged_mp3"), "Save the file again.")
        candidate = re.compile(FILE_TYPES.pattern + rb"|ID3|APETAGEX").search(data, at + 1)
        at = len(data) if candidate is None else candidate.start()


def _is_followed(data: bytes, frame: Frame) -> bool:
    """Return whether the next frame is of the same stream, or the file ends there."""
    at = frame.start + frame.size
    following = read_frame(data, at)
    return at == len(data) or (following is not None and following.stream == frame.stream)


def skip_tag(data: bytes, at: int) -> int:
    """Return the end of an ID3v2, ID3v1 or APE tag at a byte, or `at` where none fits."""
    end = _find_tag_end(data, at)
    return end if end <= len(data) else at


def _find_tag_end(data: bytes, at: int) -> int:
    head = bytes(data[at : at + 32])
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return at + 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, is_header = struct.unpack_from("<I", head, 12)[0], head[23] & 0x20
        return at + 32 + (size if is_header else 0)
    if head[:3] == b"TAG" and at + 128 == len(data):
        return at + 128
    return at


def _is_info(data: bytes, frame: Frame) -> bool:
    is_vbri = data[frame.start + 36 : frame.start + 40] == b"VBRI"
    is_xing = data[frame.info_at : frame.info_at + 4] in (b"Xing", b"Info")
    return frame.stream[1] == 3 and (is_xing or is_vbri)


@dataclass
class _Run:
    """Frames that one decoder can join: the info frame, the first one, their ranges and number."""

    info: Frame | None = None
    first: Frame | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    count: int = 0

    def add(self, frame: Frame) -> None:
        """Append a frame. Frames that follow each other share a range."""
        self.first = self.first or frame
        self.count += 1
        begin = frame.start
        if self.ranges and self.ranges[-1][1] == begin:
            begin = self.ranges.pop()[0]
        self.ranges.append((begin, frame.start + frame.size))

    def build(self, data: bytes) -> list[Mp3Piece]:
        """Return the piece with an info frame that counts its frames, or nothing."""
        if self.first is None:
            return []
        head = b""
        if self.first.stream[1] == 3:
            head = _write_info(data, self.first, self.info, self.count)
        return [Mp3Piece(head, tuple(self.ranges), self.count * self.first.samples)]


def _write_info(data: bytes, first: Frame, info: Frame | None, count: int) -> bytes:
    """Return an info frame with the right number of frames.

    An existing one keeps its encoder delay. Its padding at the end belongs to the number of frames
    it tells.
    """
    if info is not None:
        frame = bytearray(data[info.start : info.start + info.size])
        at = info.info_at - info.start
        flags = int.from_bytes(frame[at + 4 : at + 8], "big")
        if bytes(frame[at : at + 4]) in (b"Xing", b"Info") and flags & 1:
            declared = int.from_bytes(frame[at + 8 : at + 12], "big")
            frame[at + 8 : at + 12] = count.to_bytes(4, "big")
            fields = sum(size for bit, size in _INFO_FIELDS if flags & bit)
            lame = at + 8 + fields
            if declared not in (count, count + 1) and lame + 24 <= len(frame):
                frame[lame + 22] &= 0xF0
                frame[lame + 23] = 0
            return bytes(frame)
    frame, at = build_info_frame(data[first.start : first.start + 4])
    frame[at : at + 12] = b"Xing" + struct.pack(">II", 1, count)
    return bytes(frame)


def build_info_frame(header: bytes) -> tuple[bytearray, int]:
    """Return an empty frame of 64 kbit/s for a stream of layer III, and where its info begins.

    `header`: the first four bytes of a frame of the stream.
    """
    head = bytearray(header)
    # No checksum, 64 kbit/s, no padding.
    head[1] |= 1
    head[2] = _INFO_KBITS[head[1] >> 3 & 3 == 3] << 4 | head[2] & 0x0C
    frame = head + bytes(2**11)
    made = read_frame(bytes(frame), 0)
    assert made is not None, "the header is one of a frame"
    return frame[: made.size], made.info_at
