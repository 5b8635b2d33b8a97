"""Set the exact length of an Ogg stream, as every decoder understands it."""

from __future__ import annotations

import struct
from dataclasses import replace

from musicgen.audio.ogg_pages import LAST, OggPage, read_pages

OPUS_PACKET_SAMPLES = 960
"""Samples of each of libsndfile's Opus packets: 20 ms at 48 kHz."""
_PRE_SKIP = slice(10, 12)


def cut_opus(ogg: bytes, samples: int) -> bytes:
    """Return an Opus file by libsndfile that ends after `samples` samples at 48 kHz.

    Packets behind the end are removed, and the last granule cuts within a packet. Source: RFC 7845,
    section 4.4.
    """
    pages, end = list(read_pages(ogg)), 0
    (pre_skip,) = struct.unpack("<H", pages[0].body[_PRE_SKIP])
    granule = pre_skip + samples
    kept: list[OggPage] = []
    for page in pages:
        # The pages of the two headers have the granule 0.
        packets = page.count_packets() if page.granule > 0 else 0
        if end + packets * OPUS_PACKET_SAMPLES < granule:
            kept.append(page)
            end += packets * OPUS_PACKET_SAMPLES
            continue
        first, _ = _split(page, -(-(granule - end) // OPUS_PACKET_SAMPLES))
        kept.append(replace(first, granule=granule, flags=page.flags | LAST))
        break
    return b"".join(page.to_bytes() for page in kept)


def separate_first_packet(ogg: bytes) -> bytes:
    """Return Vorbis pages with at least two pages of audio.

    The first page of a stream tells where it begins, and the last one where it ends. ffmpeg reads a
    single page as both, and returns some samples too few or too many. The first packet returns no
    sample, so it gets a page of its own with the granule 0.
    """
    pages = list(read_pages(ogg))
    at = next((index for index, page in enumerate(pages) if page.granule > 0), len(pages))
    if at != len(pages) - 1 or pages[at].count_packets() < 2:
        return ogg
    first, rest = _split(pages[at], 1)
    first = replace(first, granule=0, flags=first.flags & ~LAST)
    rest = replace(rest, sequence=rest.sequence + 1)
    return b"".join(page.to_bytes() for page in [*pages[:at], first, rest])


def _split(page: OggPage, packets: int) -> tuple[OggPage, OggPage]:
    """Return a page of the first `packets` packets, and one of the others."""
    ends = [index for index, length in enumerate(page.segments) if length < 255]
    count = ends[packets - 1] + 1
    size = sum(page.segments[:count])
    return (
        replace(page, segments=page.segments[:count], body=page.body[:size]),
        replace(page, segments=page.segments[count:], body=page.body[size:]),
    )
