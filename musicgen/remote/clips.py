"""A clip as another deployment sends it."""

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
    """One clip as it came: the bytes of the file and its MIME type, and where they are told its
    seed, its length in seconds, the prompt, the model that made it and its weights' licence."""

    data: bytes
    content_type: str
    seed: int | None = None
    seconds: float | None = None
    prompt: str | None = None
    model: str | None = None
    licence: str | None = None

    @property
    def extension(self) -> str:
        """Without a dot; wav for a type that is not known."""
        return _EXTENSIONS.get(self.content_type.partition(";")[0].strip(), "wav")


def type_of(data: bytes, output_format: str) -> str:
    """The MIME type of a file of `output_format`, whatever a storage in between calls it.

    Raises: `RemoteError` for bytes that are no such file, as where an error page was sent for it.
    """
    if not data.startswith(_BEGINNINGS[output_format]):
        raise RemoteError(f"what came for the clip is no {output_format} file")
    return _TYPES[output_format]


def of_data_uri(uri: str) -> tuple[bytes, str]:
    """The bytes and the MIME type. Raises: `RemoteError`."""
    head, _, data = uri.removeprefix("data:").partition(",")
    if not head.endswith(";base64"):
        raise RemoteError("the answer holds a data: URI that is not base64")
    return of_base64(data), head.removesuffix(";base64")


def of_base64(text: str) -> bytes:
    """Raises: `RemoteError`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RemoteError("the answer holds audio that is not base64") from error
