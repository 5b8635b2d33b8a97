"""Codec tokens of a clip, embedded in its file.

A continuation starts from these tokens instead of encoding the audio again, so it continues
exactly the model's own output. A checksum of the samples detects a clip edited since; its tokens
are ignored and its audio is encoded.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicgen.audio.decoder_process import DecoderProcess
from musicgen.audio.dither import Dither
from musicgen.audio.encode import choose_codec
from musicgen.audio.pcm import Pcm
from musicgen.audio.sample_types import convert_samples
from musicgen.audio.sound import Sound, SoundProblem
from musicgen.audio.tags import read_tags
from musicgen.request import AudioFormat

MAX_BYTES = 2**20
"""Limit for the tokens as 16-bit integers: above the longest clip with the most codebooks."""
_LOSSLESS = ("PCM_16", "PCM_24", "FLOAT")
_FIELDS = {"codebooks", "codec", "sound", "data"}


@dataclass(frozen=True, eq=False)
class SavedTokens:
    """Tokens of one clip.

    `codes`: (codebooks, frames). `codec` is the fingerprint of the codec, `checksum` the
    CRC-32 of the samples in the file.
    """

    codes: NDArray[np.int64]
    codec: str
    checksum: int

    def to_text(self) -> str:
        """Return the tokens as compressed JSON text."""
        data = zlib.compress(self.codes.astype("<u2").tobytes(), 9)
        return json.dumps(
            {
                "codebooks": len(self.codes),
                "codec": self.codec,
                "sound": self.checksum,
                "data": base64.b64encode(data).decode(),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str) -> SavedTokens | None:
        """Return the tokens in a text of `to_text`, or None for any other text.

        The text is untrusted: a caller sent the file.
        """
        try:
            fields = json.loads(text)
            if not isinstance(fields, dict) or set(fields) != _FIELDS:
                return None
            codebooks, codec, checksum = int(fields["codebooks"]), fields["codec"], fields["sound"]
            if not 1 <= codebooks <= 64 or not isinstance(codec, str) or type(checksum) is not int:
                return None
            packed = base64.b64decode(fields["data"], validate=True)
            data = zlib.decompressobj().decompress(packed, MAX_BYTES)
            codes = np.frombuffer(data, "<u2").reshape(codebooks, -1).astype(np.int64)
        except (ValueError, TypeError, OverflowError, binascii.Error, zlib.error, RecursionError):
            return None
        return cls(codes, codec, checksum) if codes.shape[1] else None


def compute_checksum(pcm: Pcm, audio_format: AudioFormat) -> int:
    """Return the CRC-32 of the samples stored in a lossless file of `pcm` (samples, channels)."""
    return _add_checksum(convert_samples(pcm, choose_codec(audio_format), Dither()))


def read_tokens(path: Path) -> SavedTokens | None:
    """Return the tokens embedded in a file, or None where it has none or was edited since.

    Raises: OSError when the file cannot be read.
    """
    with path.open("rb") as file:
        # Only these carry tokens, and their tags are read without a decoder.
        head = file.read(4)
    # A signed flac begins with an ID3 tag, as an mp3 does.
    if head not in (b"RIFF", b"fLaC") and not head.startswith(b"ID3"):
        return None
    tags = read_tags(path)
    saved = SavedTokens.from_text(tags.tokens) if tags is not None and tags.tokens else None
    if saved is None:
        return None
    try:
        # A file of a caller: its decoder runs in a process of its own.
        with closing(DecoderProcess(path)) as sound:
            return saved if saved.checksum in _compute_checksums(sound) else None
    except SoundProblem:
        return None


def _compute_checksums(sound: Sound) -> Collection[int]:
    """Return the checksum of a sound for each codec of a lossless file: float32 holds all exactly.

    Nothing for a sound with NaN or infinity.
    """
    found = dict.fromkeys(_LOSSLESS, 0)
    # In blocks: a small file of a caller may hold hours.
    for block in sound.read_blocks():
        if not np.isfinite(block).all():
            return ()
        for codec in _LOSSLESS:
            found[codec] = _add_checksum(convert_samples(block, codec), found[codec])
    return found.values()


def _add_checksum(samples: NDArray[Any], checksum: int = 0) -> int:
    return zlib.crc32(np.ascontiguousarray(samples).tobytes(), checksum)
