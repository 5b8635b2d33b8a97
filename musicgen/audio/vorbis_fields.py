"""Write comments of any name into flac, ogg and opus files by libsndfile.

libsndfile writes comments of a few names only. A text of equal length under such a name keeps the
place, so no packet or page changes its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import soundfile as sf

from musicgen.audio.ogg_pages import CAPTURE, read_pages

_PLACES = ("tracknumber", "album", "genre", "date")
"""Names of libsndfile that this project does not use itself."""
_PLACES_WITHIN = 2**16
"""The comments lie within these first bytes of a flac or of a page."""


def reserve_comments(sound: sf.SoundFile, comments: Mapping[str, str]) -> None:
    """Reserve the place of at most four comments, before any other text of the file is set.

    The last one has at least six characters with its name.
    """
    for place, text in _build_places(comments).items():
        setattr(sound, place.decode(), text[len(place) + 1 :].decode())


def write_comments(data: bytes, comments: Mapping[str, str]) -> bytes:
    """Return a file, or whole pages from its beginning, with the reserved comments written."""
    if not comments:
        return data
    if not data.startswith(CAPTURE):
        return _replace_places(data, comments)
    pages = list(read_pages(data))
    for index, page in enumerate(pages):
        body = _replace_places(page.body, comments)
        if body != page.body:
            # They precede every text of a caller, so the first match is the right one.
            pages[index] = replace(page, body=body)
            break
    return b"".join(page.to_bytes() for page in pages)


def _build_places(comments: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return the comments to be replaced, by their names."""
    # The last place has the shortest name, and the tempo is the shortest comment.
    places = _PLACES[len(_PLACES) - len(comments) :]
    return {
        place.encode(): f"{place}={'#' * (len(name) + len(text) - len(place))}".encode()
        for place, (name, text) in zip(places, comments.items(), strict=True)
    }


def _replace_places(data: bytes, comments: Mapping[str, str]) -> bytes:
    for place, (name, text) in zip(_build_places(comments).values(), comments.items(), strict=True):
        # The case of the name depends on the container.
        at = data[:_PLACES_WITHIN].lower().find(place)
        if at >= 0:
            data = data[:at] + f"{name}={text}".encode() + data[at + len(place) :]
    return data
