"""Remove times and random numbers from containers, so equal audio gives equal bytes.

libsndfile writes the time into the PEAK chunk of a float WAV, and a random serial number into an
Ogg stream. No player shows either.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

from musicgen.audio.ogg_pages import read_pages

_CHUNKS_MAX = 1000
"""Limit for the chunks of a hostile file; a WAV has about ten."""


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
    return b"".join(replace(page, serial=serial).to_bytes() for page in read_pages(ogg))
