"""Tags of a clip, written into its file: WAV LIST/INFO, Vorbis comments or ID3.

A few fields are for players (title, artist, copyright). The comment holds everything as ASCII
JSON, so any prompt survives any container.
"""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import soundfile as sf

from musicgen.audio.deterministic import read_riff_chunks
from musicgen.audio.marking import COMMENT, GENERATED, ID3_DESCRIPTION, build_wav_chunk
from musicgen.audio.mp3_frames import skip_tag
from musicgen.audio.tempo import Tempo
from musicgen.errors.counts import format_count

TITLE_CHARACTERS = 80
TEXT_MAX_CHARACTERS = 2**21
"""Limit of a comment and of the tokens, whose parser takes many times as much memory."""
TOKENS_CHUNK = b"mgtk"
"""Chunk after the samples of a wav: libsndfile limits its comment to some 50,000 characters."""
_BLOCKS_MAX = 1000
"""Limit for the blocks and the fields of a hostile flac; one of ours has some ten."""
_VORBIS_COMMENT = 4
_MARK = "digital_source_type"
# Control characters end strings in C and lines in players, lone surrogates have no UTF-8, and
# FLAC drops a text with U+FFFE or U+FFFF.
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029\ufffe\uffff]+")


@dataclass(frozen=True)
class AudioTags:
    """Origin of a clip.

    `licence` is the licence of the model's weights, `tokens` the text of
    `musicgen.audio.embedded_tokens`, `tempo` that of a request with `bpm`.
    """

    prompt: str
    seed: int
    model: str
    licence: str
    generator: str
    tokens: str | None = None
    tempo: Tempo | None = None

    @property
    def title(self) -> str:
        """The prompt on one line of at most 80 characters."""
        line = _one_line(self.prompt)
        return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1] + "…"

    def without_loop(self) -> AudioTags:
        """Return these tags for a piece of the clip, or for its raw sound."""
        if self.tempo is None:
            return self
        return replace(self, tempo=replace(self.tempo, is_loop=False))

    def to_fields(self) -> dict[str, str]:
        """Return the texts to write, by soundfile's names, without empty ones."""
        fields = {
            "title": self.title,
            "artist": _one_line(self.generator),
            "software": _one_line(self.generator),
            "copyright": _one_line(self.licence),
            "license": _one_line(self.licence),
            "comment": self.to_json(),
        }
        return {name: text for name, text in fields.items() if text}

    def to_json(self) -> str:
        """Return all fields as JSON, without `tokens` and `tempo` where there are none."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        fields[_MARK] = GENERATED
        return json.dumps(fields, separators=(",", ":"))

    def build_comments(self, samples: int) -> dict[str, str]:
        """Return the comments of a flac, ogg or opus with names unknown to libsndfile."""
        tempo = {} if self.tempo is None else self.tempo.build_comments(samples)
        return {COMMENT: GENERATED, **tempo}

    def build_chunks(self, samples: int, sample_rate: int) -> bytes:
        """Return the chunks of a wav after its samples, without those of tokens."""
        tempo = b"" if self.tempo is None else self.tempo.build_chunks(samples, sample_rate)
        return tempo + build_wav_chunk()

    def to_id3(self) -> bytes:
        """Return an ID3v2.4 tag in UTF-8, to put before the first frame of an mp3.

        libsndfile cannot write it: it passes UTF-8 to LAME as Latin-1.
        """
        frames = {"title": b"TIT2", "artist": b"TPE1", "software": b"TSSE", "copyright": b"TCOP"}
        fields = self.to_fields()
        body = b"".join(
            _build_id3_frame(frames[name], fields[name]) for name in frames if name in fields
        )
        if self.tempo is not None:
            body += _build_id3_frame(b"TBPM", self.tempo.whole_bpm)
        body += _build_id3_frame(b"TXXX", GENERATED, prefix=f"{ID3_DESCRIPTION}\0".encode())
        body += _build_id3_frame(b"COMM", fields["comment"], prefix=b"eng\0")
        return b"ID3\x04\0\0" + _to_syncsafe(len(body)) + body


def read_tags(source: Path | bytes) -> AudioTags | None:
    """Return the tags this project wrote into a file, given by its path or its bytes.

    Returns None for anything but audio, and for audio without tags of this project.
    Raises: OSError when the path cannot be read.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        fields = json.loads(_check_size(_read_comment(data)))
        fields.pop(_MARK, None)
        tags = AudioTags(**{**fields, "tempo": Tempo.from_json(fields.get("tempo"))})
        return replace(tags, tokens=_read_wav_tokens(data)) if data[:4] == b"RIFF" else tags
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None


def _read_comment(data: bytes) -> str:
    if data[:4] == b"RIFF":
        return _read_wav_comment(data)
    # A signed flac begins with an ID3 tag.
    start = skip_tag(data, 0)
    if data[start : start + 4] == b"fLaC":
        return _read_flac_comment(data, start + 4)
    try:
        with sf.SoundFile(io.BytesIO(data)) as sound:
            return str(sound.comment)
    except sf.SoundFileError:
        return ""


def _read_wav_comment(wav: bytes) -> str:
    """Return the INFO comment of a wav; libsndfile reads none over 2047 bytes."""
    for name, start, length in read_riff_chunks(wav):
        if name == b"LIST" and wav[start : start + 4] == b"INFO":
            for field, at, size in read_riff_chunks(wav, start + 4, start + length):
                if field == b"ICMT":
                    return wav[at : at + size].rstrip(b"\0").decode("ascii", "replace")
    return ""


def _read_flac_comment(flac: bytes, at: int) -> str:
    """Return the comment of a flac whose first block is at a byte.

    Source: RFC 9639, sections 8.1 and 8.6.
    """
    for _ in range(_BLOCKS_MAX):
        head, size = flac[at : at + 1], int.from_bytes(flac[at + 1 : at + 4], "big")
        if not head or head[0] & 0x7F == _VORBIS_COMMENT:
            return _find_vorbis_comment(flac[at + 4 : at + 4 + size])
        if head[0] & 0x80:
            break
        at += 4 + size
    return ""


def _find_vorbis_comment(block: bytes) -> str:
    def read_text(at: int) -> tuple[bytes, int]:
        start = at + 4
        end = start + int.from_bytes(block[at:start], "little")
        return block[start:end], end

    _, at = read_text(0)
    count, at = int.from_bytes(block[at : at + 4], "little"), at + 4
    for _ in range(min(count, _BLOCKS_MAX)):
        field, at = read_text(at)
        name, _, text = field.partition(b"=")
        if name.upper() == b"COMMENT":
            return text.decode("ascii", "replace")
    return ""


def build_tokens_chunk(tokens: str | None) -> bytes:
    """Return the chunk for the end of a wav with `tokens`, or nothing without tokens."""
    if tokens is None:
        return b""
    content = tokens.encode("ascii")
    padding = bytes(len(content) % 2)
    return TOKENS_CHUNK + struct.pack("<I", len(content)) + content + padding


def _read_wav_tokens(wav: bytes) -> str | None:
    for name, start, length in read_riff_chunks(wav):
        if name == TOKENS_CHUNK:
            return _check_size(wav[start : start + length].decode("ascii", "replace"))
    return None


def _check_size(text: str) -> str:
    if len(text) > TEXT_MAX_CHARACTERS:
        raise ValueError(f"a text of {format_count(len(text), 'character')}")
    return text


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()


def _build_id3_frame(name: bytes, text: str, prefix: bytes = b"") -> bytes:
    utf8 = b"\x03"
    content = utf8 + prefix + text.encode()
    return name + _to_syncsafe(len(content)) + bytes(2) + content


def _to_syncsafe(length: int) -> bytes:
    """Return `length` in four bytes of seven bits, so no decoder takes it for an mp3 frame."""
    return struct.pack(">4B", *(length >> shift & 0x7F for shift in (21, 14, 7, 0)))
