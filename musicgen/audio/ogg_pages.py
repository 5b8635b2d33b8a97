"""Pages of an Ogg file (RFC 3533): read, change and write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

CAPTURE = b"OggS"
CONTINUED, FIRST, LAST = 1, 2, 4
"""Flags of a page: it begins inside a packet, begins a stream, ends a stream."""
NO_GRANULE = -1
"""Granule of a page on which no packet ends."""
_HEADER = struct.Struct("<4sBBqIIIB")
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass(frozen=True)
class OggPage:
    """One page.

    `granule` counts the samples up to the end of its last complete packet. `segments` are lengths
    in bytes: a packet ends with the first one below 255.
    """

    flags: int
    granule: int
    serial: int
    sequence: int
    segments: bytes
    body: bytes

    def to_bytes(self) -> bytes:
        """Return the page with a new checksum."""
        numbers = (self.flags, self.granule, self.serial, self.sequence)
        head = _HEADER.pack(CAPTURE, 0, *numbers, 0, len(self.segments))
        page = bytearray(head + self.segments + self.body)
        page[22:26] = _compute_checksum(page).to_bytes(4, "little")
        return bytes(page)

    def count_packets(self) -> int:
        """Return the number of packets that end on this page."""
        return sum(length < 255 for length in self.segments)


def read_pages(ogg: bytes) -> Iterator[OggPage]:
    """Iterate over the pages of a whole, undamaged file, such as an encoder has written."""
    start = 0
    while start < len(ogg):
        _, _, flags, granule, serial, sequence, _, count = _HEADER.unpack_from(ogg, start)
        body = start + _HEADER.size + count
        segments = ogg[body - count : body]
        start = body + sum(segments)
        yield OggPage(flags, granule, serial, sequence, segments, ogg[body:start])


def _compute_checksum(page: bytearray) -> int:
    """Return the CRC of RFC 3533: zlib's polynomial, bits reversed, from 0, not inverted."""
    mirrored = zlib.crc32(page.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
