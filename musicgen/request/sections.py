"""Requests for more than one prompt: sections of one clip, and clips beside each other.

Platforms with text inputs only send them as JSON. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from musicgen.errors import OMITTED, InvalidDuration, InvalidRequest
from musicgen.errors.request_reasons import RequestReason
from musicgen.request.limits import DURATION_MAX_SECONDS, SECTION_MIN_SECONDS, SECTIONS_MAX
from musicgen.request.texts import check_text

_SECTIONS = 'must be a list of {"prompt": text, "duration": seconds}'
_PROMPTS = "must be a list of texts"


@dataclass(frozen=True)
class Section:
    """Part of a clip, `duration` seconds long, with its own prompt."""

    prompt: str
    duration: float


def parse_sections(value: object) -> tuple[Section, ...]:
    """Read sections from a list of mappings, or from the JSON of one. Raises: `InvalidRequest`."""
    entries = _parse_list("sections", value, _SECTIONS)
    if not 1 <= len(entries) <= SECTIONS_MAX:
        problem = RequestReason("sections_count", most=SECTIONS_MAX)
        raise InvalidRequest("sections", problem, value=value)
    return tuple(_parse_section(entry) for entry in entries)


def parse_prompts(value: object) -> tuple[str, ...]:
    """Read prompts from a list of texts, or from the JSON of one. Raises: `InvalidRequest`."""
    entries = _parse_list("prompts", value, _PROMPTS)
    for entry in entries:
        if not isinstance(entry, str):
            raise InvalidRequest("prompts", _PROMPTS, value=entry)
        check_text("prompts", entry)
    return tuple(str(entry) for entry in entries)


def _parse_list(field: str, value: object, allowed: str) -> Sequence[object]:
    parsed = value
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidRequest(field, f"{allowed}, or its JSON", value=value) from None
    if not isinstance(parsed, (list, tuple)):
        # Never the parsed value: a deeply nested one cannot be printed.
        shown = value if isinstance(value, (str, int, float, bool)) else OMITTED
        raise InvalidRequest(field, allowed, value=shown)
    return parsed


def _parse_section(entry: object) -> Section:
    if isinstance(entry, Section):
        entry = {"prompt": entry.prompt, "duration": entry.duration}
    if not isinstance(entry, Mapping) or set(entry) != {"prompt", "duration"}:
        raise InvalidRequest("sections", _SECTIONS, value=entry)
    prompt, duration = entry["prompt"], entry["duration"]
    if not isinstance(prompt, str):
        raise InvalidRequest("sections", _SECTIONS, value=entry)
    check_text("sections", prompt)
    is_number = isinstance(duration, (int, float)) and not isinstance(duration, bool)
    if not is_number or not duration >= SECTION_MIN_SECONDS:
        problem = RequestReason("sections_too_short", least=SECTION_MIN_SECONDS)
        raise InvalidRequest("sections", problem, value=duration)
    if duration > DURATION_MAX_SECONDS:
        problem = RequestReason("sections_too_long", most=DURATION_MAX_SECONDS)
        raise InvalidDuration("sections", problem, value=duration)
    return Section(prompt, float(duration))
