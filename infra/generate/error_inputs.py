"""Inputs that cause every error of a request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from musicgen.request import request_fields
from musicgen.request.fields import FieldSpec
from musicgen.request.limits import PROMPT_MAX_CHARACTERS, SECTIONS_MAX

AUDIO = {"input_audio": "clip.wav"}
PART = {"prompt": "calm", "duration": 4}
RULES: tuple[dict[str, Any], ...] = (
    {},
    {"prompt": "piano", "temprature": 1},
    {"prompts": ["piano", " "]},
    {"prompt": "piano", "prompts": ["bells"]},
    {"prompts": ["piano"] * 3, "variations": 3},
    {"prompts": "piano"},
    {"prompts": [1]},
    {"sections": "piano"},
    {"sections": []},
    {"sections": [PART] * (SECTIONS_MAX + 1)},
    {"sections": [{"prompt": "calm"}]},
    {"sections": [{"prompt": "calm", "duration": 0}]},
    {"sections": [PART], "duration": 9},
    {"sections": [{"prompt": "calm", "duration": 200}] * 2},
    {"sections": [PART], "prompts": ["bells"]},
    {"sections": [PART], "loop": True},
    {"sections": [PART], "continuation": True, **AUDIO},
    {"prompt": "piano", "top_k": -1},
    {"prompt": "piano", "negative_prompt": "drums", "classifier_free_guidance": 1},
    {"prompt": "piano", "continuation": True},
    {"prompt": "piano", "continuation_start": 2},
    {"prompt": "piano", "continuation_start": 3, "continuation_end": 2, **AUDIO},
    {"prompt": "piano", "loop": True},
    {"prompt": "piano", "loop": True, "bpm": 120, "fade_in": 1},
    {"prompt": "piano", "loop": True, "bpm": 100, "duration": 300},
    {"prompt": "piano", "fade_in": 5, "fade_out": 4},
    {"prompt": "piano", "target_loudness": -16, "normalization_strategy": "peak"},
    {"prompt": "piano", "true_peak_ceiling": -3, "normalization_strategy": "none"},
    {"prompt": "piano", "output_format": "opus", "sample_rate": 44100},
    {"prompt": "piano", "save_tokens": True, "output_format": "mp3"},
    {"prompt": "piano", "save_tokens": True, "loop": True, "bpm": 120},
    {"prompt": "piano", "save_tokens": True, "decoder": "multi_band_diffusion"},
    {"prompt": "piano", "bitrate": 128},
    {"prompt": "rain", "output_format": "mp3", "sample_rate": 16000, "bitrate": 192},
)
"""What concerns several fields, or none that is known."""


def inputs() -> Iterator[dict[str, Any]]:
    """Yield inputs that are refused: two or three of each field, then combinations of fields."""
    for spec in request_fields().values():
        for value in _bad_values(spec):
            yield {"prompt": "piano", spec.name: value}
    yield from RULES


def _bad_values(spec: FieldSpec) -> Iterator[object]:
    if spec.kind in ("integer", "number"):
        yield from (limit for limit in _beyond(spec) if limit is not None)
        yield "text"
    elif spec.kind == "choice":
        yield "8" if spec.name == "bit_depth" else str(spec.choices[0])[:-1] + "x"
    elif spec.kind in ("text", "model"):
        yield 7
        yield "x" * (PROMPT_MAX_CHARACTERS + 1)
    elif spec.kind == "boolean":
        yield "yes"
    elif spec.kind == "audio":
        yield "/etc/hostname"


def _beyond(spec: FieldSpec) -> tuple[float | None, float | None]:
    return (
        None if spec.low is None else spec.low - 1,
        None if spec.high is None else spec.high + 1,
    )
