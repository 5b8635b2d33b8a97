"""The tokens that a clip was made of, kept inside its file.

Who continues such a clip goes on from them: what the model made is then heard again by the model
exactly, and not through another trip through its codec. A clip that has been changed since, by
whatever program, is told by a checksum of its samples and continued from its sound.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from musicgen.audio.encode import stored_codec, stored_samples
from musicgen.audio.pcm import Pcm
from musicgen.audio.tags import read_tags
from musicgen.request import AudioFormat

MAX_BYTES = 2**20
"""Of tokens in 16 bits: more than the longest clip of the most codebooks has."""
_READ_AS = {"PCM_16": "int16", "PCM_24": "int32", "FLOAT": "float32"}
_KNOWN = {"codebooks", "codec", "sound", "data"}


@dataclass(frozen=True, eq=False)
class SavedTokens:
    """`codes`: (codebooks, frames). `codec` is the mark of the codec whose they are, `sound` the
    checksum of the samples in the file."""

    codes: NDArray[np.int64]
    codec: str
    sound: int

    def to_text(self) -> str:
        data = zlib.compress(self.codes.astype("<u2").tobytes(), 9)
        return json.dumps(
            {
                "codebooks": len(self.codes),
                "codec": self.codec,
                "sound": self.sound,
                "data": base64.b64encode(data).decode(),
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str) -> SavedTokens | None:
        """None for what `to_text` has not made; whoever sent the file may have written anything."""
        try:
            fields = json.loads(text)
            if not isinstance(fields, dict) or set(fields) != _KNOWN:
                return None
            codebooks, codec, sound = int(fields["codebooks"]), fields["codec"], fields["sound"]
            if not 1 <= codebooks <= 64 or not isinstance(codec, str) or type(sound) is not int:
                return None
            packed = base64.b64decode(fields["data"], validate=True)
            data = zlib.decompressobj().decompress(packed, MAX_BYTES)
            codes = np.frombuffer(data, "<u2").reshape(codebooks, -1).astype(np.int64)
        except (ValueError, TypeError, OverflowError, binascii.Error, zlib.error, RecursionError):
            return None
        return cls(codes, codec, sound) if codes.shape[1] else None


def checksum(pcm: Pcm, audio_format: AudioFormat) -> int:
    """Of the samples that a lossless file of `pcm` (samples, channels) holds."""
    samples = stored_samples(pcm, stored_codec(audio_format))
    return zlib.crc32(np.ascontiguousarray(samples).tobytes())


def tokens_in(path: Path) -> SavedTokens | None:
    """The tokens of a file whose sound is still the one that they made.

    Raises: OSError when the file cannot be read.
    """
    tags = read_tags(path)
    saved = SavedTokens.from_text(tags.tokens) if tags is not None and tags.tokens else None
    if saved is None:
        return None
    with path.open("rb") as file, sf.SoundFile(file) as sound:
        dtype = _READ_AS.get(sound.subtype)
        if dtype is None:
            return None
        samples = sound.read(dtype=dtype, always_2d=True)
    return saved if zlib.crc32(np.ascontiguousarray(samples).tobytes()) == saved.sound else None
