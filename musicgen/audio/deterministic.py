"""Takes the clock and the dice out of containers: equal audio gives equal bytes, equal sha256.

libsndfile stamps the PEAK chunk of a float WAV with the time, and draws the serial number of an
Ogg stream. Both are bookkeeping that no player shows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OGG_HEADER = 27
_OGG_SERIAL, _OGG_CHECKSUM, _OGG_SEGMENTS = slice(14, 18), slice(22, 26), 26


def riff_chunks(wav: bytes, start: int = 12) -> Iterator[tuple[bytes, int, int]]:
    """Walks the chunks of a WAV, or the sub-chunks of the list whose first one is at `start`.

    Yields: name, first byte of the content, and length of the content in bytes.
    """
    while start + 8 <= len(wav):
        name, length = struct.unpack_from("<4sI", wav, start)
        yield name, start + 8, length
        start += 8 + length + length % 2


def without_time(wav: bytes) -> bytes:
    """`wav` with the time in its PEAK chunk, if it has one, set to zero."""
    for name, start, _ in riff_chunks(wav):
        if name == b"PEAK":
            return wav[: start + 4] + bytes(4) + wav[start + 8 :]
    return wav


def with_serial(ogg: bytes, serial: int) -> bytes:
    """`ogg`, one logical stream, with `serial` (32 bits) on every page and checksums to match."""
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
    """The CRC of RFC 3533: zlib's polynomial with the bits the other way, from 0, not inverted."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
