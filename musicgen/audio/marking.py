"""Mark of a clip as made by an AI model, in the words of the IPTC and without a signature.

Each format has the mark in its own metadata: a wav in XMP, an mp3 in an ID3 frame, flac, ogg and
opus in a comment. Sources: IPTC's Digital Source Type; Adobe's XMP specification, part 3.
"""

from __future__ import annotations

import re

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED = f"{SOURCE_TYPES}trainedAlgorithmicMedia"
"""IPTC's digital source type of media made by a trained model."""
COMMENT = "DIGITALSOURCETYPE"
ID3_DESCRIPTION = "DigitalSourceType"
_XMP_CHUNK = b"_PMX"
_XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{GENERATED}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)
_NEAR = 2**21
"""The mark of a file is looked for in so many bytes of its beginning, or its end."""
# In an ID3 tag the next frame follows the word at once, so the words are listed.
_WORDS = rb"trainedAlgorithmicMedia|compositeWithTrainedAlgorithmicMedia|algorithmicMedia"
_MARK = re.compile(
    rb"digital[ _]?source[ _]?type[^\n]{0,8}?(" + SOURCE_TYPES.encode() + rb"(?:" + _WORDS + rb"))",
    re.IGNORECASE,
)


def build_wav_chunk() -> bytes:
    """Return the XMP chunk for the end of a wav."""
    content = _XMP.encode()
    return _XMP_CHUNK + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)


def read_mark(data: bytes) -> str | None:
    """Return the digital source type in a file's metadata if it names a model, or None."""
    for part in (data[:_NEAR], data[-_NEAR:]):
        found = _MARK.search(part)
        if found:
            return found[1].decode("ascii")
    return None
