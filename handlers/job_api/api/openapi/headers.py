"""Headers of replies in the OpenAPI document, described once each."""

from __future__ import annotations

from typing import Any

_TEXT = {"type": "string"}
_SECONDS = {"type": "integer", "minimum": 0}
HEADERS: dict[str, dict[str, Any]] = {
    "Accept-Ranges": {
        "description": "`bytes`: parts of the clip can be requested with Range.",
        "schema": {"type": "string", "const": "bytes"},
    },
    "Cache-Control": {"description": "How long the reply may be kept.", "schema": _TEXT},
    "Content-Disposition": {
        "description": "File name of the clip, from its prompt and seed (RFC 6266).",
        "schema": _TEXT,
    },
    "Content-Range": {
        "description": "Sent bytes and size of the clip (RFC 9110, 14.4).",
        "schema": _TEXT,
    },
    "ETag": {
        "description": "Version of the clip, for If-None-Match and If-Match.",
        "schema": _TEXT,
    },
    "Last-Modified": {
        "description": "Time of the clip, for If-Modified-Since and If-Unmodified-Since.",
        "schema": _TEXT,
    },
    "Location": {
        "description": "Address of the job's status, or of the clip in the bucket.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RateLimit": {
        "description": "Calls left to the caller, and seconds until the next one is free.",
        "schema": _TEXT,
    },
    "RateLimit-Policy": {
        "description": "Limit of calls, and its window in seconds.",
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds until the next try can help.", "schema": _SECONDS},
    "Set-Cookie": {"description": "The cookie `musicgen_key`.", "schema": _TEXT},
    "Vary": {"description": "Header of the call with an influence on the reply.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "The scheme of API keys.", "schema": _TEXT},
    "X-Accel-Buffering": {"description": "`no`: proxies must not hold events.", "schema": _TEXT},
    "X-Job-Id": {"description": "Id of the job of a call that waits.", "schema": _TEXT},
    "X-Licence": {"description": "Licence of the model.", "schema": _TEXT},
    "X-Model": {"description": "Model of the sound.", "schema": _TEXT},
    "X-Request-ID": {
        "description": "Id of the call in the server's log: the caller's own, or a new one.",
        "schema": _TEXT,
    },
    "X-Should-Retry": {
        "description": "`false`: the same call would make another job.",
        "schema": _TEXT,
    },
    "X-Seed": {"description": "Seed of the sound.", "schema": _TEXT},
}
"""Description of each header, by its name in HTTP."""
EVERY_REPLY: tuple[str, ...] = ("RateLimit", "RateLimit-Policy", "X-Request-ID")
"""Headers of every reply; those of the rate limit only where a caller is counted."""
_ENDED_JOB = ("X-Job-Id", "X-Should-Retry")
ERROR_HEADERS: dict[int, tuple[str, ...]] = {
    400: _ENDED_JOB,
    401: ("WWW-Authenticate",),
    409: _ENDED_JOB,
    416: ("Content-Range",),
    429: ("Retry-After",),
    500: _ENDED_JOB,
    503: ("Retry-After",),
    504: ("Location", *_ENDED_JOB),
}
"""Headers of error replies, by status."""
VERSION_HEADERS = ("Cache-Control", "Content-Disposition", "ETag", "Last-Modified", "Vary")
CLIP_HEADERS = (*VERSION_HEADERS, "Accept-Ranges")


def refer_headers(*names: str) -> dict[str, dict[str, str]]:
    """Return the references to headers in the document's components."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
