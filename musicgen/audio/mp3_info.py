"""Write the info frame by which players find the ends of an MP3 and repeat it without a gap.

LAME writes one only where a frame of the bitrate has room for it. At a low bitrate a player would
then hear the encoder's delay before the music and its padding after it. Source: the Xing and LAME
info tags.
"""

from __future__ import annotations

import struct

from musicgen.audio.mp3_frames import build_info_frame, read_frame

ENCODER_DELAY = 576
"""Samples that LAME puts before the first one."""
_MAGIC, _ENCODER = b"Info", b"LAME3.100"
# Frames, bytes, seek table, quality.
_ALL_FIELDS = 15
_CONSTANT_BITRATE = 1
_CRC_POLYNOMIAL = 0xA001


def add_info(data: bytes, samples: int, bitrate: int) -> bytes:
    """Return an MP3 by LAME, without tags before it, with an info frame.

    `samples`: those of the clip. `bitrate` in kbit/s is constant.
    """
    first = read_frame(data, 0)
    # A clip without samples has no frame.
    if first is None or data[first.info_at : first.info_at + 4] == _MAGIC:
        return data
    count = _count_frames(data)
    padding = count * first.samples - samples - ENCODER_DELAY
    frame, at = build_info_frame(data[:4])
    fields = _build_fields(count, len(frame) + len(data), bitrate, padding, compute_crc(data))
    end = at + len(fields)
    frame[at:end] = fields
    frame[end : end + 2] = compute_crc(bytes(frame[:end])).to_bytes(2, "big")
    return bytes(frame) + data


def _build_fields(count: int, size: int, bitrate: int, padding: int, music_crc: int) -> bytes:
    """Return the fields of the info frame up to its own CRC.

    `count`: frames after it. `size`: bytes of the file with it, without tags.
    """
    # The seek table of a constant bitrate is linear.
    table = bytes(256 * percent // 100 for percent in range(100))
    fields = struct.pack(">4sIII100sI", _MAGIC, _ALL_FIELDS, count, size, table, 0)
    delays = (ENCODER_DELAY << 12 | padding).to_bytes(3, "big")
    # Between them: low-pass, gains and flags, all unknown.
    lame = struct.pack(">9sB10xB3s4x", _ENCODER, _CONSTANT_BITRATE, bitrate, delays)
    return fields + lame + struct.pack(">IH", size, music_crc)


def compute_crc(data: bytes) -> int:
    """Return the CRC-16 of the info tag: polynomial 0x8005, lowest bit first, from 0."""
    crc = 0
    for byte in data:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc


def _count_frames(data: bytes) -> int:
    at = count = 0
    while (frame := read_frame(data, at)) is not None:
        at += frame.size
        count += 1
    return count


def _build_crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CRC_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _build_crc_table()
