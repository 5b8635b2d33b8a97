"""The audio that a caller sends with a request, in any form that JSON has room for, as a file."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InvalidInputAudio
from musicgen.guarded_http import DownloadLimits, download

FIELD = "input_audio"
FORMS = "send an http(s) URL, a data: URI, or the file as base64"
LIMITS = DownloadLimits()
SHORTEST_BASE64 = 64
"""Below this it is rather a name than a sound."""
_MEDIA_TYPES = re.compile(r"(audio/[\w.+-]+|video/ogg|application/(octet-stream|ogg))?$", re.I)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\s-]+={0,2}\s*")


@contextmanager
def with_input_audio(
    payload: Mapping[str, Any], allowed_networks: tuple[str, ...] = ()
) -> Iterator[dict[str, Any]]:
    """`payload` with its `input_audio` replaced by a file that lives as long as the context.

    Raises: what `fetched` raises.
    """
    fields = dict(payload)
    if fields.get(FIELD) is None:
        yield fields
        return
    with TemporaryDirectory(prefix="musicgen-input-") as folder:
        fields[FIELD] = fetched(fields[FIELD], Path(folder), allowed_networks)
        yield fields


def fetched(value: object, folder: Path, allowed_networks: tuple[str, ...] = ()) -> Path:
    """Writes what `value` holds or names to a new file in `folder`.

    `value`: bytes, an http(s) URL, a data: URI or base64. A path of this machine is none of them,
    whoever names it. What the bytes are is for `musicgen.audio.decode` to find out.

    Raises: `InvalidInputAudio`, `InputAudioRefused`, `InputAudioTooLarge`,
    `InputAudioUnreachable`.
    """
    target = folder / uuid4().hex
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        download(value, target, LIMITS, allowed_networks)
        return target
    if isinstance(value, (bytes, bytearray)):
        data = bytes(value)
    elif isinstance(value, str):
        # Base64 makes four characters of three bytes, percent-encoding up to three of one.
        _check_size(len(value) // 3)
        data = _of_data_uri(value) if value[:5].lower() == "data:" else _of_base64(value)
    else:
        raise InvalidInputAudio(FIELD, value, FORMS)
    _check_size(len(data))
    if not data:
        raise InvalidInputAudio(FIELD, value, "it is empty")
    target.write_bytes(data)
    return target


def _of_data_uri(uri: str) -> bytes:
    """RFC 2397: data:[<media type>][;parameter=...][;base64],<data>."""
    head, comma, data = uri[len("data:") :].partition(",")
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if not comma or not _MEDIA_TYPES.match(media_type):
        raise InputAudioRefused(FIELD, uri[:60], f"a data: URI of audio; {FORMS}")
    if any(parameter.lower() == "base64" for parameter in parameters):
        return _decoded(unquote_to_bytes(data).decode("latin-1"))
    return unquote_to_bytes(data)


def _of_base64(text: str) -> bytes:
    if len(text) < SHORTEST_BASE64 or not _BASE64.fullmatch(text):
        raise InvalidInputAudio(FIELD, text, FORMS)
    return _decoded(text)


def _decoded(text: str) -> bytes:
    """Both alphabets, line breaks and left-out padding, as encoders differ in them."""
    plain = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputAudio(FIELD, text, f"not base64 that can be read; {FORMS}") from None


def _check_size(size: int) -> None:
    if size > LIMITS.bytes:
        raise InputAudioTooLarge(
            FIELD, f"{size / 1e6:.0f} MB", f"at most {LIMITS.bytes / 1e6:g} MB"
        )
