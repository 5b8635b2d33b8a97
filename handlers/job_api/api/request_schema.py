"""The fields of `POST /generate` as the OpenAPI document tells them.

What is allowed is checked by `musicgen.request` alone; its limits and defaults are repeated here
from its constants, so that whoever generates a client from the document has them.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from musicgen.catalog import MUSICGEN_LICENCE
from musicgen.request import postprocessing as finish
from musicgen.request import request
from musicgen.request import sections as parts

PRIORITY_MAX = 10
_SECONDS = {"type": "number", "minimum": 0}


def generate_schema() -> dict[str, Any]:
    """JSON Schema of the body. Fields that are not there are refused with an error that says so,
    which a schema cannot: hence `additionalProperties`."""
    properties = {**_music(), **_sampling(), **_input(), **_finish(), **_file(), **_job()}
    for field in fields(request.GenerationRequest):
        if field.default is not None and not isinstance(field.default, Path):
            properties[field.name]["default"] = field.default
    return {
        "type": "object",
        "additionalProperties": True,
        "properties": properties,
        "examples": [
            {"prompt": "upbeat electronic music", "duration": 5},
            {"prompt": "calm piano", "duration": 60, "seed": 7, "output_format": "mp3"},
            {"prompt": "drums", "loop": True, "bpm": 120, "duration": 8, "variations": 2},
        ],
    }


def _text(about: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": request.PROMPT_MAX_CHARACTERS, "description": about}


def _between(kind: str, least: float, most: float | None = None, **more: Any) -> dict[str, Any]:
    limits = {"minimum": least} if most is None else {"minimum": least, "maximum": most}
    return {"type": kind, **limits, **more}


def _switch(about: str) -> dict[str, Any]:
    return {"type": "boolean", "description": about}


def _music() -> dict[str, Any]:
    longest = request.DURATION_MAX_SECONDS
    section = {
        "type": "object",
        "required": ["duration"],
        "properties": {"prompt": _text(""), "duration": {"type": "number"}},
    }
    return {
        "prompt": _text("what the music is like; may be empty beside input_audio"),
        "prompts": {
            "type": "array",
            "items": _text(""),
            "description": f"several at once instead; {request.VARIATIONS_MAX} clips in all",
        },
        "sections": {
            "type": "array",
            "items": section,
            "maxItems": parts.SECTIONS_MAX,
            "description": "one clip whose prompt changes; their durations make up duration",
        },
        "negative_prompt": _text("what guidance leads away from"),
        "model_version": {
            "type": "string",
            "description": f"one of GET /models; Meta's weights are {MUSICGEN_LICENCE}",
        },
        "duration": _between("number", request.DURATION_MIN_SECONDS, longest, description="s"),
        "seed": _between(
            "integer",
            request.RANDOM_SEED,
            request.SEED_MAX,
            description="left out or -1: a random one, told in the result",
        ),
        "variations": _between("integer", 1, request.VARIATIONS_MAX),
        "extend_stride": _between(
            "number",
            request.STRIDE_MIN_SECONDS,
            request.STRIDE_MAX_SECONDS,
            description="of each window of 30 s, how many seconds are new",
        ),
    }


def _sampling() -> dict[str, Any]:
    return {
        "top_k": _between("integer", 0, request.TOP_K_MAX),
        "top_p": _between("number", 0, 1, description="above 0 it wins over top_k"),
        "temperature": _between("number", 0, description="0 is greedy"),
        "classifier_free_guidance": _between("number", 1, description="1 switches it off"),
    }


def _input() -> dict[str, Any]:
    return {
        "input_audio": {
            "type": "string",
            "description": "upload:ID of POST /uploads, an http(s) URL, a data: URI or base64: "
            "a melody to follow, or with continuation the clip to continue",
        },
        "continuation": _switch("continues input_audio, which counts towards duration"),
        "continuation_start": {**_SECONDS, "description": "into the clip"},
        "continuation_end": _between(
            "number", request.CONTINUATION_TO_THE_END, description="-1 is the clip's end"
        ),
    }


def _finish() -> dict[str, Any]:
    longest = finish.FADE_MAX_SECONDS
    return {
        "loop": _switch("whole bars that go on into themselves; needs bpm"),
        "bpm": _between("number", finish.BPM_MIN, finish.BPM_MAX),
        "beats_per_bar": _between("integer", finish.BEATS_MIN, finish.BEATS_MAX),
        "trim_silence": _switch("cuts silence off both ends"),
        "fade_in": _between("number", 0, longest, description="s"),
        "fade_out": _between("number", 0, longest, description="s"),
        "steady_level": _switch("takes slow drifts of the level out of music of over 30 s"),
        "normalization_strategy": {"enum": list(request.NORMALIZATION_STRATEGIES)},
        "target_loudness": _between(
            "number", finish.LOUDNESS_MIN_LUFS, finish.LOUDNESS_MAX_LUFS, description="LUFS"
        ),
        "sample_rate": {"enum": list(finish.SAMPLE_RATES), "description": "Hz"},
    }


def _file() -> dict[str, Any]:
    return {
        "output_format": {"enum": list(request.OUTPUT_FORMATS)},
        "bit_depth": {"enum": list(request.BIT_DEPTHS), "description": "of wav and flac"},
        "bitrate": {"enum": list(finish.BITRATES), "description": "kbit/s of mp3 and opus"},
        "save_tokens": _switch("keeps in a wav or flac what it was made of, to be continued"),
    }


def _job() -> dict[str, Any]:
    return {
        "priority": _between("integer", -PRIORITY_MAX, PRIORITY_MAX, default=0),
        "webhook_url": {
            "type": "string",
            "maxLength": 2000,
            "description": "an http(s) URL that is told when the job has ended",
        },
    }
