"""JSON Schema of the body of `POST /generate`, from the declarations of the request's fields."""

from __future__ import annotations

from typing import Any

from musicgen.request import request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import PROMPT_MAX_CHARACTERS, SECTION_MIN_SECONDS, SECTIONS_MAX

PRIORITY_MAX = 10
WEBHOOK_URL_MAX_CHARACTERS = 2000
JOB_FIELDS: dict[str, dict[str, Any]] = {
    "priority": {
        "type": "integer",
        "minimum": -PRIORITY_MAX,
        "maximum": PRIORITY_MAX,
        "default": 0,
        "description": "Jobs with a higher priority start earlier.",
    },
    "webhook_url": {
        "type": "string",
        "format": "uri",
        "maxLength": WEBHOOK_URL_MAX_CHARACTERS,
        "description": "An http(s) URL to call when the job has ended.",
    },
}
"""Fields of a job, not of a request."""
_AUDIO = " An upload (upload:ID of POST /v1/uploads), an http(s) URL, a data: URI or base64 of it."
_TEXT = {"type": "string", "maxLength": PROMPT_MAX_CHARACTERS}
_SECTION = {
    "type": "object",
    "title": "Section",
    "description": "Part of a clip with a prompt of its own.",
    "additionalProperties": False,
    "required": ["prompt", "duration"],
    "properties": {
        "prompt": _TEXT,
        "duration": {
            "type": "number",
            "minimum": SECTION_MIN_SECONDS,
            "description": "In seconds.",
        },
    },
}
_TYPES: dict[str, dict[str, Any]] = {
    "text": _TEXT,
    "model": {"type": "string"},
    "texts": {"type": "array", "items": _TEXT},
    "sections": {"type": "array", "items": _SECTION, "minItems": 1, "maxItems": SECTIONS_MAX},
    "audio": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "choice": {},
}


def build_request_schema() -> dict[str, Any]:
    """Return the JSON Schema of the body. The document names it by its title."""
    return {
        "type": "object",
        "title": "GenerationRequest",
        "description": "Music to generate. Only a prompt is needed.",
        "additionalProperties": False,
        "properties": {
            **{name: _describe(spec) for name, spec in request_fields().items()},
            **JOB_FIELDS,
        },
        "examples": [
            {"prompt": "upbeat electronic music", "duration": 5},
            {"prompt": "calm piano", "duration": 60, "seed": 7, "output_format": "mp3"},
            {"prompt": "drums", "loop": True, "bpm": 120, "duration": 8, "variations": 2},
        ],
    }


def _describe(spec: FieldSpec) -> dict[str, Any]:
    audio = _AUDIO if spec.kind == "audio" else ""
    schema = {**_TYPES[spec.kind], "description": f"{spec.description}{audio}"}
    if spec.kind == "choice":
        schema |= {"type": "integer" if spec.is_whole else "string", "enum": list(spec.choices)}
    bounds = {"minimum": spec.low, "maximum": spec.high}
    schema |= {keyword: limit for keyword, limit in bounds.items() if limit is not None}
    if spec.is_optional:
        schema["type"] = [schema["type"], "null"]
        schema |= {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    else:
        schema["default"] = spec.default
    return schema
