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
from musicgen.net.fetch import DownloadLimits, download

FIELD = "input_audio"
FORMS = "send an http(s) URL, a data: URI, or the file as base64"
LIMITS = DownloadLimits()
SHORTEST_BASE64 = 64
"""Below this it is rather a name than a sound."""
_SHOWN = 60
_SLICE = 2**16
_ONE_ALPHABET = str.maketrans("-_", "+/")
_MEDIA_TYPES = re.compile(r"(audio/[\w.+-]+|video/ogg|application/(octet-stream|ogg))?$", re.I)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_=\s-]")


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


def fetched(value: object, folder: Path, allowed_networks: tuple[str, ...] = ()) -> Path | None:
    """Writes what `value` holds or names to a new file in `folder`; None is no file.

    `value`: bytes, an http(s) URL, a data: URI or base64. A path of this machine is none of them,
    whoever names it. What the bytes are is for `musicgen.audio.decode` to find out.

    Raises: `InvalidInputAudio`, `InputAudioRefused`, `InputAudioTooLarge`,
    `InputAudioUnreachable`.
    """
    if value is None:
        return None
    target = folder / uuid4().hex
    if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
        download(value, target, LIMITS, allowed_networks)
        return target
    if isinstance(value, (bytes, bytearray)):
        _check_size(len(value))
        data = bytes(value)
    elif isinstance(value, str):
        # Escaped base64 takes the most, four characters for a byte, and a head and line breaks.
        _check_size(len(value) // 5)
        data = _of_data_uri(value) if value[:5].lower() == "data:" else _of_base64(value)
    else:
        # Only its type: the text of a deeply nested list is more than Python can make.
        raise InvalidInputAudio(FIELD, type(value).__name__, FORMS)
    _check_size(len(data))
    if not data:
        raise InvalidInputAudio(FIELD, value[:_SHOWN], "it is empty")
    target.write_bytes(data)
    return target


def _of_data_uri(uri: str) -> bytes:
    """RFC 2397: data:[<media type>][;parameter=...][;base64],<data>."""
    head, comma, data = uri[len("data:") :].partition(",")
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if not comma or not _MEDIA_TYPES.match(media_type):
        raise InputAudioRefused(FIELD, uri[:_SHOWN], f"a data: URI of audio; {FORMS}")
    is_base64 = any(parameter.lower() == "base64" for parameter in parameters)
    if not is_base64:
        # Each % takes two more characters at most, so it becomes this many bytes at least.
        _check_size(len(data) - 2 * data.count("%"))
    try:
        plain = _unescaped(data)
    except UnicodeEncodeError:
        raise InvalidInputAudio(
            FIELD, uri[:_SHOWN], f"characters of no encoding; {FORMS}"
        ) from None
    return _decoded(plain.decode("latin-1")) if is_base64 else plain


def _unescaped(text: str) -> bytes:
    """In slices: at once it would take some eighty times the memory of `text`."""
    done, start = bytearray(), 0
    while start < len(text):
        end = start + _SLICE
        # An escape is not cut in two.
        escape = text.rfind("%", end - 2, end)
        if escape > start:
            end = escape
        done += unquote_to_bytes(text[start:end])
        start = end
    return bytes(done)


def _of_base64(text: str) -> bytes:
    if len(text) < SHORTEST_BASE64 or _NOT_BASE64.search(text):
        raise InvalidInputAudio(FIELD, text[:_SHOWN], FORMS)
    return _decoded(text)


def _decoded(text: str) -> bytes:
    """Both alphabets, line breaks and left-out padding, as encoders differ in them."""
    plain = "".join(text.split()).translate(_ONE_ALPHABET).rstrip("=")
    _check_size(len(plain) * 3 // 4)
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputAudio(
            FIELD, text[:_SHOWN], f"not base64 that can be read; {FORMS}"
        ) from None


def _check_size(size: int) -> None:
    if size > LIMITS.bytes:
        raise InputAudioTooLarge(
            FIELD, f"{size / 1e6:.0f} MB", f"at most {LIMITS.bytes / 1e6:g} MB"
        )
