"""What made a clip, written inside its file: WAV LIST/INFO, Vorbis comments or ID3.

A few fields are for players (title, artist, copyright); the comment holds everything as ASCII
JSON, which survives every container whatever characters the prompt has.
"""

from __future__ import annotations

import io
import json
import re
import struct
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import soundfile as sf

from musicgen.audio.deterministic import riff_chunks

TITLE_CHARACTERS = 80
TOKENS_CHUNK = b"mgtk"
"""Of a wav, behind its sound: libsndfile writes no comment of over some 50,000 characters there."""
# Control characters end strings in C and lines in players; lone surrogates have no UTF-8; FLAC
# drops a text with U+FFFE or U+FFFF.
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff\u2028\u2029\ufffe\uffff]+")


@dataclass(frozen=True)
class AudioTags:
    """Where a clip comes from. `licence` is the one of the model's weights, `tokens` what
    `musicgen.audio.embedded_tokens` made of those of the clip."""

    prompt: str
    seed: int
    model: str
    licence: str
    generator: str
    tokens: str | None = None

    @property
    def title(self) -> str:
        """The prompt on one line of at most 80 characters."""
        line = _one_line(self.prompt)
        return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1] + "…"

    def to_fields(self) -> dict[str, str]:
        """The texts to write, by the names soundfile has for them; empty ones are left out."""
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
        """All of it; `tokens` only where there are some."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(given, separators=(",", ":"))

    def to_id3(self) -> bytes:
        """An ID3v2.4 tag in UTF-8, to put before the first frame of an MP3.

        Not left to libsndfile, which hands UTF-8 to LAME as if it were Latin-1.
        """
        frames = {"title": b"TIT2", "artist": b"TPE1", "software": b"TSSE", "copyright": b"TCOP"}
        fields = self.to_fields()
        body = b"".join(_id3_frame(frames[name], fields[name]) for name in frames if name in fields)
        body += _id3_frame(b"COMM", fields["comment"], prefix=b"eng\0")
        return b"ID3\x04\0\0" + _syncsafe(len(body)) + body


def read_tags(source: Path | bytes) -> AudioTags | None:
    """The tags that this project wrote into a file, given by its path or its bytes.

    Returns: None for what is not audio, or carries no tags of ours.
    Raises: OSError when the path cannot be read.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        tags = AudioTags(**json.loads(_comment(data)))
        return replace(tags, tokens=_wav_tokens(data)) if data[:4] == b"RIFF" else tags
    except (ValueError, TypeError, RecursionError):
        return None


def _comment(data: bytes) -> str:
    if data[:4] == b"RIFF":
        return _wav_comment(data)
    try:
        with sf.SoundFile(io.BytesIO(data)) as sound:
            return str(sound.comment)
    except sf.SoundFileError:
        return ""


def _wav_comment(wav: bytes) -> str:
    """The INFO comment of `wav`; libsndfile writes long ones but reads none over 2047 bytes."""
    for name, start, length in riff_chunks(wav):
        if name == b"LIST" and wav[start : start + 4] == b"INFO":
            for field, at, size in riff_chunks(wav[: start + length], start + 4):
                if field == b"ICMT":
                    return wav[at : at + size].rstrip(b"\0").decode("ascii", "replace")
    return ""


def with_tokens_chunk(tokens: str | None) -> bytes:
    """The chunk at the end of a wav that holds `tokens`; nothing without."""
    if tokens is None:
        return b""
    content = tokens.encode("ascii")
    padding = bytes(len(content) % 2)
    return TOKENS_CHUNK + struct.pack("<I", len(content)) + content + padding


def _wav_tokens(wav: bytes) -> str | None:
    for name, start, length in riff_chunks(wav):
        if name == TOKENS_CHUNK:
            return wav[start : start + length].decode("ascii", "replace")
    return None


def _one_line(text: str) -> str:
    return _UNPRINTABLE.sub(" ", text).strip()


def _id3_frame(name: bytes, text: str, prefix: bytes = b"") -> bytes:
    utf8 = b"\x03"
    content = utf8 + prefix + text.encode()
    return name + _syncsafe(len(content)) + bytes(2) + content


def _syncsafe(length: int) -> bytes:
    """`length` in four bytes of seven bits, which no decoder can take for a frame's start."""
    return struct.pack(">4B", *(length >> shift & 0x7F for shift in (21, 14, 7, 0)))
