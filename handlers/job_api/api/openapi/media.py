"""Replies with sound or events in the OpenAPI document, and the media type for their caller.

Generators of clients leave out replies of types that they do not know. Most of them leave out
`audio/...` and keep `application/octet-stream`, so a caller may ask for sound by that type too.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import Response

from handlers.job_api.api.openapi.headers import CLIP_HEADERS, VERSION_HEADERS, refer_headers
from musicgen.audio.encode import content_type
from musicgen.midi import packages as midi
from musicgen.request.limits import OUTPUT_FORMATS

BYTES = "application/octet-stream"
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_AUDIO_TYPES = tuple(dict.fromkeys(map(content_type, OUTPUT_FORMATS)))
AUDIO = dict.fromkeys((*_AUDIO_TYPES, BYTES), _BINARY)
"""Content of a reply with sound."""
AUDIO_OR_MIDI = {midi.CONTENT_TYPE: _BINARY, **AUDIO}
CLIP: dict[str, Any] = {
    "description": "The clip",
    "content": AUDIO_OR_MIDI,
    "headers": refer_headers(*CLIP_HEADERS),
}
CLIP_PART: dict[str, Any] = {
    "description": "The requested range; several ranges come as multipart/byteranges",
    "content": {**AUDIO_OR_MIDI, "multipart/byteranges": _BINARY},
    "headers": refer_headers(*CLIP_HEADERS, "Content-Range"),
}
UNCHANGED: dict[str, Any] = {
    "description": "The caller has this version of the clip",
    "headers": refer_headers(*VERSION_HEADERS),
}
REDIRECT: dict[str, Any] = {
    "description": "Redirect to the clip in the bucket, if the server is set so",
    "headers": refer_headers("Location"),
}
LIVE_AUDIO: dict[str, Any] = {
    "description": "Live sound of a running job, or the clip of a completed one",
    "content": AUDIO,
    "headers": refer_headers(*CLIP_HEADERS),
}
ZIP: dict[str, Any] = {
    "description": "A zip file with the clips",
    "content": {"application/zip": _BINARY, BYTES: _BINARY},
    "headers": refer_headers("Cache-Control", "Content-Disposition"),
}
EVENTS: dict[str, Any] = {
    "description": "Events until the job has finished; comments keep the connection open",
    "content": {
        "text/event-stream": {
            # Before OpenAPI 3.2 the schema is that of each event. Clients without support for
            # events read the whole stream as a text.
            "schema": {
                "anyOf": [{"$ref": "#/components/schemas/StatusEvent"}, {"type": "string"}],
                "description": "Each event; or the whole stream as a text.",
            },
            "example": 'event: status\ndata: {"job_id": "6f1c4f6a", "status": "running"}\n\n',
        }
    },
    "headers": refer_headers("Cache-Control", "X-Accel-Buffering"),
}


def type_reply(request: Request, response: Response) -> Response:
    """Return a reply with a file, as application/octet-stream for a caller of no other type."""
    kind = response.headers.get("content-type", "")
    if not kind.startswith(("audio/", "application/zip")):
        return response
    response.headers.add_vary_header("Accept")
    if wants_bytes(request.headers.get("accept", "*/*"), kind):
        response.headers["content-type"] = BYTES
    return response


def wants_bytes(accept: str, own_type: str) -> bool:
    """Whether an Accept header takes application/octet-stream, and neither `own_type` nor audio."""
    accepted = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return BYTES in accepted and accepted.isdisjoint(("*/*", "audio/*", own_type.lower()))
