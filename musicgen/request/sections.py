"""Requests for more than one prompt: sections of one clip, and clips beside each other.

Where a platform has only texts they are JSON. This module imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from musicgen.errors import InvalidRequest
from musicgen.request.validation import check_number

SECTIONS_MAX = 32
SECTION_MIN_SECONDS = 0.1
SECTIONS_ALLOWED = 'a list of {"prompt": a text, "duration": seconds}'


@dataclass(frozen=True)
class Section:
    """`duration` seconds of a clip with a prompt of their own."""

    prompt: str
    duration: float


def sections_from(value: object) -> tuple[Section, ...]:
    """A list of mappings, or the JSON of one. Raises: `InvalidRequest`."""
    entries = _listed("sections", value, SECTIONS_ALLOWED)
    if not 1 <= len(entries) <= SECTIONS_MAX:
        raise InvalidRequest("sections", value, f"1 to {SECTIONS_MAX} of them")
    return tuple(_section(entry) for entry in entries)


def prompts_from(value: object) -> tuple[str, ...]:
    """A list of texts, or the JSON of one. Raises: `InvalidRequest`."""
    entries = _listed("prompts", value, "a list of texts")
    for entry in entries:
        if not isinstance(entry, str):
            raise InvalidRequest("prompts", entry, "a list of texts")
    return tuple(str(entry) for entry in entries)


def to_json(value: Sequence[Section | str]) -> str:
    """What `sections_from` and `prompts_from` read."""
    return json.dumps(
        [
            {"prompt": each.prompt, "duration": each.duration}
            if isinstance(each, Section)
            else each
            for each in value
        ]
    )


def _listed(field: str, value: object, allowed: str) -> Sequence[object]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise InvalidRequest(field, value, f"{allowed}, as JSON") from None
    if not isinstance(value, (list, tuple)):
        raise InvalidRequest(field, value, allowed)
    return value


def _section(entry: object) -> Section:
    if isinstance(entry, Section):
        entry = {"prompt": entry.prompt, "duration": entry.duration}
    if not isinstance(entry, Mapping) or set(entry) != {"prompt", "duration"}:
        raise InvalidRequest("sections", entry, SECTIONS_ALLOWED)
    prompt, duration = entry["prompt"], entry["duration"]
    if not isinstance(prompt, str):
        raise InvalidRequest("sections", entry, SECTIONS_ALLOWED)
    check_number(
        "sections", duration, InvalidRequest, low=SECTION_MIN_SECONDS, high=1e6, unit=" seconds"
    )
    return Section(prompt, float(duration))
