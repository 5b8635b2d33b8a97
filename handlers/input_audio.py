"""Input audio of a request: from any form allowed in JSON to a temporary file."""

from __future__ import annotations

import base64
import binascii
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import unquote_to_bytes
from uuid import uuid4

from musicgen.disk_errors import make_temporary_folder, translate_full_disk
from musicgen.errors import InputAudioRefused, InputAudioTooLarge, InvalidInputAudio
from musicgen.net.download_errors import DownloadLimits
from musicgen.net.fetch import download

FIELD = "input_audio"
PROBLEM = "must be an http(s) URL, a data: URI or the file as base64"
ADVICE = "Send an http(s) URL, a data: URI or the file as base64."
LIMITS = DownloadLimits()
SHORTEST_BASE64 = 64
"""Shorter texts are more likely a file name than audio."""
_SHOWN_CHARACTERS = 60
_SLICE = 2**16
_ONE_ALPHABET = bytes.maketrans(b"-_", b"+/")
_SPACES = b" \t\r\n\f\v"
_MEDIA_TYPES = re.compile(
    r"(audio/[\w.+-]+|video/(mp4|ogg|quicktime|webm|x-matroska)|application/(octet-stream|ogg))?$",
    re.I,
)
_NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/_=\s-]")


@contextmanager
def open_input_audio(
    payload: Mapping[str, Any],
    allowed_networks: tuple[str, ...] = (),
    cancelled: threading.Event | None = None,
) -> Iterator[dict[str, Any]]:
    """Replace the `input_audio` of a payload by a file, deleted on leaving the context.

    A `Path` passes unchanged: it is a file stored by this service, and no payload from outside can
    hold one. Blocks while fetching a URL, at most until `cancelled` is set.

    Raises: the errors of `fetch_input_audio`. Errors within the context do not show its name.
    """
    fields = dict(payload)
    if fields.get(FIELD) is None or isinstance(fields[FIELD], Path):
        yield fields
        return
    with make_temporary_folder("musicgen-input-") as folder:
        path = fetch_input_audio(fields[FIELD], Path(folder), allowed_networks, cancelled)
        fields[FIELD] = path
        try:
            yield fields
        except InvalidInputAudio as error:
            if path is None or error.value != path.name:
                raise
            # The caller did not give this name.
            raise type(error)(error.field, error.problem, advice=error.advice) from None


def is_web_address(value: object) -> TypeGuard[str]:
    """Return whether a value names a sound to fetch."""
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


def fetch_input_audio(
    value: object,
    folder: Path,
    allowed_networks: tuple[str, ...] = (),
    cancelled: threading.Event | None = None,
) -> Path | None:
    """Write the audio of `value` to a new file in `folder`, and return None for None.

    `value`: bytes, an http(s) URL, a data: URI or base64. A path of this machine is refused.
    `musicgen.audio.decode` checks the bytes later.

    Raises: `InvalidInputAudio`, `InputAudioRefused`, `InputAudioTooLarge`,
    `InputAudioUnreachable`, `GenerationCancelled`; `DiskFull`, `NotWritable`.
    """
    if value is None:
        return None
    target = folder / uuid4().hex
    if is_web_address(value):
        download(value, target, LIMITS, allowed_networks, cancelled)
        return target
    data = decode_inline_audio(value)
    with translate_full_disk(folder):
        target.write_bytes(data)
    return target


def decode_inline_audio(value: object) -> bytes:
    """Return the bytes of audio sent within a call: bytes, a data: URI or base64.

    Raises: `InvalidInputAudio`, `InputAudioRefused`, `InputAudioTooLarge`.
    """
    if isinstance(value, (bytes, bytearray)):
        _check_size(len(value))
        data = bytes(value)
    elif isinstance(value, str):
        # Escaped base64 is the longest form: four characters a byte, a head and line breaks.
        _check_size(len(value) // 5)
        data = _decode_data_uri(value) if value[:5].lower() == "data:" else _read_base64(value)
    else:
        # Not shown: Python cannot print a deeply nested list.
        raise InvalidInputAudio(FIELD, "is neither a text nor bytes", advice=ADVICE)
    _check_size(len(data))
    if not data:
        raise InvalidInputAudio(FIELD, "is empty", advice=ADVICE)
    return data


def _decode_data_uri(uri: str) -> bytes:
    """Return the bytes of a data: URI: data:[<media type>][;parameter=...][;base64],<data>.

    Source: RFC 2397.
    """
    head, comma, data = uri[len("data:") :].partition(",")
    media_type, *parameters = (part.strip() for part in head.split(";"))
    if not comma or not _MEDIA_TYPES.match(media_type):
        raise InputAudioRefused(
            FIELD, "must be audio in a data: URI", value=uri[:_SHOWN_CHARACTERS], advice=ADVICE
        )
    is_base64 = any(parameter.lower() == "base64" for parameter in parameters)
    if not is_base64:
        # An escape is % and two characters, so this is the least number of bytes.
        _check_size(len(data) - 2 * data.count("%"))
    try:
        plain = _unescape(data)
    except UnicodeEncodeError:
        raise InvalidInputAudio(
            FIELD,
            "has characters without a UTF-8 encoding",
            value=uri[:_SHOWN_CHARACTERS],
            advice=ADVICE,
        ) from None
    return _decode_base64(plain.decode("latin-1")) if is_base64 else plain


def _unescape(text: str) -> bytes:
    """Resolve the escapes of `text` in slices: at once takes some eighty times its memory."""
    done, start = bytearray(), 0
    while start < len(text):
        end = start + _SLICE
        # Do not cut an escape in two.
        escape = text.rfind("%", end - 2, end)
        if escape > start:
            end = escape
        done += unquote_to_bytes(text[start:end])
        start = end
    return bytes(done)


def _read_base64(text: str) -> bytes:
    if len(text) < SHORTEST_BASE64 or _NOT_BASE64.search(text):
        raise InvalidInputAudio(FIELD, PROBLEM, value=text[:_SHOWN_CHARACTERS])
    return _decode_base64(text)


def _decode_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, with line breaks and without padding allowed."""
    try:
        # Splitting at spaces would take many times the memory of the text.
        plain = text.encode("ascii").translate(_ONE_ALPHABET, _SPACES).rstrip(b"=")
        _check_size(len(plain) * 3 // 4)
        return base64.b64decode(plain + b"=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInputAudio(
            FIELD,
            "cannot be decoded as base64",
            value=text[:_SHOWN_CHARACTERS],
            advice=ADVICE,
        ) from None


def _check_size(size: int) -> None:
    if size > LIMITS.bytes:
        raise InputAudioTooLarge(
            FIELD, f"has {size / 1e6:.0f} MB, more than the limit of {LIMITS.bytes / 1e6:g} MB"
        )
