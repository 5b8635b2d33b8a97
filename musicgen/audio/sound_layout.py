"""Find the container of a file by its content, and the sounds that are joined in it."""

from __future__ import annotations

import mmap
import re
from collections.abc import Sized
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Literal

from musicgen.audio.mp3_frames import FILE_TYPES, find_pieces, skip_tag
from musicgen.audio.ogg_links import find_links
from musicgen.audio.sound import SoundProblem, list_formats
from musicgen.errors.sound_reasons import SoundReason

PIECES_MAX = 1000
NOT_AUDIO = SoundReason("not_audio")
_CHUNK_NAME = re.compile(rb"[ -~]{4}")
_CHUNKS_MAX = 10_000
_REST_BYTES = 4_096
"""More than this behind the last chunk is sound that the header does not count."""
_TAGS = (b"ID3", b"TAG", b"APE")
_FLAC_BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_ADTS = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]")


@dataclass(frozen=True)
class Piece:
    """Sound that libsndfile decodes by itself: byte ranges of the file after `head`.

    `least`: number of samples that libsndfile must find, 0 if unknown.
    """

    ranges: tuple[tuple[int, int], ...]
    head: bytes = b""
    least: int = 0


@dataclass(frozen=True)
class SoundLayout:
    """Decoder of a file: libsndfile for its `pieces`, or ffmpeg's demuxer.

    No pieces are the whole file. `name` is for messages.
    """

    name: str
    demuxer: str = ""
    pieces: tuple[Piece, ...] = ()


def find_layout(path: Path) -> SoundLayout:
    """Return the layout of a file that is not empty.

    Raises: `SoundProblem` for a file that is no sound; OSError.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _find(data)


def _find(data: mmap.mmap) -> SoundLayout:
    start = 0
    while (after := skip_tag(data, start)) > start:  # type: ignore[arg-type]
        start = after
    head = data[start : start + 16]
    if head[:4] in (b"RIFF", b"FORM"):
        return _split_chunks(data, head[:4])
    if head[:4] == b"fLaC":
        return _split_flac(data, start)
    if head[:4] == b"OggS":
        return _split_ogg(data)
    if head[4:8] == b"ftyp":
        return SoundLayout("MP4 (m4a, mp4 or mov)", "mov")
    if head[:4] == b"\x1aE\xdf\xa3":
        return SoundLayout("WebM or Matroska", "matroska")
    if _ADTS.match(head):
        return SoundLayout("AAC (ADTS)", "aac")
    if FILE_TYPES.match(head):
        return _split_mp3(data, start)
    # RF64, and what libsndfile refuses by name.
    return SoundLayout("")


def _split_chunks(data: mmap.mmap, name: bytes) -> SoundLayout:
    """Return the WAV or AIFF files of a file; joined ones follow each other."""
    starts: list[int] = []
    end = 0
    while data[end : end + 4] == name:
        _check_number(starts)
        starts.append(end)
        end = _find_end(data, end, "little" if name == b"RIFF" else "big")
    rest = data[end : end + _REST_BYTES]
    # Tags may follow, and zeros of a disk that was full.
    if len(rest) == _REST_BYTES and rest.count(0) < _REST_BYTES and rest[:3] not in _TAGS:
        raise SoundProblem(SoundReason("longer_than_header"), "Save the file again.")
    return _build_layout("WAV" if name == b"RIFF" else "AIFF", starts, len(data))


def _find_end(data: mmap.mmap, start: int, order: Literal["little", "big"]) -> int:
    """Return the end of a WAV or AIFF: of its last chunk with a name."""
    name, at = data[start : start + 4], start + 12
    for _ in range(_CHUNKS_MAX):
        # The outer length is often wrong, so a chunk behind it counts too.
        if data[at : at + 4] == name or not _CHUNK_NAME.match(data, at):
            break
        size = int.from_bytes(data[at + 4 : at + 8], order)
        end = at + 8 + size + size % 2
        # Only sound may end too early; elsewhere the name was one by chance.
        if end > len(data) + 1 and data[at : at + 4] not in (b"data", b"SSND"):
            break
        at = end
    return at


def _split_flac(data: mmap.mmap, start: int) -> SoundLayout:
    found = islice(_FLAC_BEGINNING.finditer(data, start), PIECES_MAX + 1)
    starts = [match.start() for match in found]
    _check_number(starts)
    # The last 36 bits of eight bytes count the samples; a streamed file counts 0.
    lengths = [int.from_bytes(data[at + 18 : at + 26], "big") & 2**36 - 1 for at in starts]
    if not all(lengths):
        return SoundLayout("FLAC without a length", "flac")
    return _build_layout("FLAC", starts, len(data))


def _split_ogg(data: mmap.mmap) -> SoundLayout:
    """Return the links of a chained file."""
    links = find_links(data, PIECES_MAX)  # type: ignore[arg-type]
    _check_number(links)
    if all(link.is_plain for link in links):
        return _build_layout("Ogg", [link.start for link in links], len(data))
    codecs = {codec for link in links for codec in link.codecs}
    return SoundLayout(f"Ogg of {' and '.join(sorted(codecs))}", "ogg")


def _split_mp3(data: mmap.mmap, start: int) -> SoundLayout:
    found = find_pieces(data, start)  # type: ignore[arg-type]
    if not found:
        raise SoundProblem(NOT_AUDIO, list_formats())
    _check_number(found)
    return SoundLayout(
        "MP3", "", tuple(Piece(piece.ranges, piece.head, piece.samples) for piece in found)
    )


def _check_number(joined: Sized) -> None:
    if len(joined) > PIECES_MAX:
        reason = SoundReason("too_many_pieces", most=PIECES_MAX)
        raise SoundProblem(reason, "Save the file again.")


def _build_layout(name: str, starts: list[int], end: int) -> SoundLayout:
    if len(starts) < 2 and starts[:1] == [0]:
        return SoundLayout(name)
    return SoundLayout(name, "", tuple(Piece((each,)) for each in pairwise([*starts, end])))
