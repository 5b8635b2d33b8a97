"""Fields of a request, as sent to a deployment."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any

from musicgen.errors import InvalidInputAudio
from musicgen.request import GenerationRequest


def build_fields(request: GenerationRequest, input_audio: str | None = None) -> dict[str, Any]:
    """Return the fields that differ from their defaults: an older deployment may lack new fields.

    A file becomes a data: URI, unless `input_audio` replaces it. Raises: `InvalidInputAudio` for
    an unreadable file.
    """
    fields = request.to_mapping()
    for name in ("prompts", "sections"):
        if name in fields:
            fields[name] = json.dumps(fields[name])
    if request.input_audio is not None:
        fields["input_audio"] = input_audio or _encode_data_uri(request.input_audio)
    return fields


def _encode_data_uri(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        raise InvalidInputAudio("input_audio", problem, value=path) from error
    kind = mimetypes.guess_type(path.name)[0] or ""
    kind = kind if kind.startswith("audio/") else "audio/wav"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
