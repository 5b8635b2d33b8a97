"""Remove times and random numbers from containers, so equal audio gives equal bytes.

libsndfile writes the time into the PEAK chunk of a float WAV, and a random serial number into an
Ogg stream. No player shows either.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_CHUNKS_MAX = 1000
"""Limit for the chunks of a hostile file; a WAV has about ten."""
_OGG_HEADER = 27
_OGG_SERIAL, _OGG_CHECKSUM, _OGG_SEGMENTS = slice(14, 18), slice(22, 26), 26


def read_riff_chunks(
    wav: bytes, start: int = 12, end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Iterate over the first 1000 chunks of a WAV, or of a list from `start` to `end`.

    Yields: name, first byte of the content, and length of the content in bytes.
    """
    last = len(wav) if end is None else min(end, len(wav))
    for _ in range(_CHUNKS_MAX):
        if start + 8 > last:
            return
        name, length = struct.unpack_from("<4sI", wav, start)
        yield name, start + 8, length
        start += 8 + length + length % 2


def clear_peak_time(wav: bytes) -> bytes:
    """Return `wav` with the time in its PEAK chunk, if present, set to zero."""
    for name, start, _ in read_riff_chunks(wav):
        if name == b"PEAK":
            return wav[: start + 4] + bytes(4) + wav[start + 8 :]
    return wav


def set_ogg_serial(ogg: bytes, serial: int) -> bytes:
    """Return `ogg` with `serial` (32 bits) and a new checksum on every page.

    `ogg` must hold a single logical stream.
    """
    pages, start = bytearray(ogg), 0
    while start < len(pages):
        segments_end = start + _OGG_HEADER + pages[start + _OGG_SEGMENTS]
        end = segments_end + sum(pages[start + _OGG_HEADER : segments_end])
        page = pages[start:end]
        page[_OGG_SERIAL] = serial.to_bytes(4, "little")
        page[_OGG_CHECKSUM] = bytes(4)
        page[_OGG_CHECKSUM] = _ogg_checksum(page).to_bytes(4, "little")
        pages[start:end] = page
        start = end
    return bytes(pages)


def _ogg_checksum(page: bytearray) -> int:
    """Return the CRC of RFC 3533: zlib's polynomial, bits reversed, from 0, not inverted."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
