"""Find the links of a chained Ogg file: sounds that follow each other (RFC 3533)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from musicgen.audio.ogg_pages import FIRST, NO_GRANULE

_PAGE = re.compile(rb"OggS\x00")
_HEADER_BYTES = 27
_CODECS = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus", b"\x7fFLAC": "FLAC"}


@dataclass
class OggLink:
    """Link from the byte `start`, with the codecs of its streams.

    `granule`: the highest one, from which libsndfile takes the length. `is_ordered`: whether no
    later page has a lower one.
    """

    start: int
    codecs: list[str]
    granule: int = 0
    is_ordered: bool = True
    is_opening: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether libsndfile reads it whole: one stream of Vorbis or Opus with its true length."""
        is_known = self.codecs in (["Vorbis"], ["Opus"])
        return is_known and self.is_ordered and self.granule > 0


def find_links(data: bytes, most: int) -> list[OggLink]:
    """Return the links of an Ogg file, at most `most` + 1; damaged pages are skipped."""
    links: list[OggLink] = []
    end = 0
    for match in _PAGE.finditer(data):
        start = match.start()
        if start < end or start + _HEADER_BYTES > len(data):
            continue
        flags, granule = struct.unpack_from("<Bq", data, start + 5)
        body = start + _HEADER_BYTES + data[start + _HEADER_BYTES - 1]
        end = body + sum(data[start + _HEADER_BYTES : body])
        if flags & FIRST:
            head = bytes(data[body : body + 8])
            codec = next((_CODECS[key] for key in _CODECS if head.startswith(key)), "other")
            if links and links[-1].is_opening:
                links[-1].codecs.append(codec)
                continue
            if len(links) > most:
                break
            links.append(OggLink(start, [codec]))
        elif links:
            link = links[-1]
            link.is_opening = False
            if granule != NO_GRANULE:
                link.is_ordered = link.is_ordered and granule >= link.granule
                link.granule = max(link.granule, granule)
    return links
