"""Clips in the answer of a remote deployment."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from musicgen.errors import RemoteError

_EXTENSIONS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
}
_TYPES = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
}
_BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "wav": (b"RIFF", b"RF64"),
    "flac": (b"fLaC",),
    "mp3": (b"ID3", b"\xff\xfb", b"\xff\xfa", b"\xff\xf3", b"\xff\xf2", b"\xff\xe3", b"\xff\xe2"),
    "ogg": (b"OggS",),
    "opus": (b"OggS",),
}


@dataclass(frozen=True)
class RemoteClip:
    """Clip as received: the bytes of a file and its MIME type.

    Seed, length in seconds, prompt, model and the weights' licence are None if not reported.
    """

    data: bytes
    content_type: str
    seed: int | None = None
    seconds: float | None = None
    prompt: str | None = None
    model: str | None = None
    licence: str | None = None

    @property
    def extension(self) -> str:
        """File extension without a dot; wav for an unknown type."""
        return _EXTENSIONS.get(self.content_type.partition(";")[0].strip(), "wav")


def check_type(data: bytes, output_format: str) -> str:
    """Return the MIME type of a file of `output_format`, from its first bytes.

    A storage in between may report another type. Raises: `RemoteError` for other bytes, such as an
    error page.
    """
    if not data.startswith(_BEGINNINGS[output_format]):
        raise RemoteError(f"the clip received is not a file of format {output_format}.")
    return _TYPES[output_format]


def decode_data_uri(uri: str) -> tuple[bytes, str]:
    """Return the bytes and the MIME type of a data: URI. Raises: `RemoteError`."""
    head, _, data = uri.removeprefix("data:").partition(",")
    if not head.endswith(";base64"):
        raise RemoteError("the answer holds a data: URI without base64.")
    return decode_base64(data), head.removesuffix(";base64")


def decode_base64(text: str) -> bytes:
    """Return the bytes of a base64 text. Raises: `RemoteError`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteError("the audio in the answer is not valid base64.") from error
