"""The fields of a request as they are sent."""

from __future__ import annotations

import base64
import json
import mimetypes
from pathlib import Path
from typing import Any

from musicgen.errors import InvalidInputAudio
from musicgen.request import GenerationRequest


def fields_of(request: GenerationRequest, input_audio: str | None = None) -> dict[str, Any]:
    """What differs from the defaults, so that an older deployment is not asked for new fields; a
    file goes along as a data: URI, or `input_audio` in its place.

    Raises: `InvalidInputAudio` for a file that cannot be read.
    """
    fields = request.to_mapping()
    for name in ("prompts", "sections"):
        if name in fields:
            fields[name] = json.dumps(fields[name])
    if request.input_audio is not None:
        fields["input_audio"] = input_audio or _data_uri(request.input_audio)
    return fields


def _data_uri(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInputAudio("input_audio", str(path), f"{error.strerror}") from error
    kind = mimetypes.guess_type(path.name)[0] or ""
    kind = kind if kind.startswith("audio/") else "audio/wav"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
