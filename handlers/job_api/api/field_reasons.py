"""Reasons of fields that FastAPI refuses: stable codes, as those of a request for music."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from musicgen.errors.request_reasons import RequestReason

_REASONS: dict[str, Callable[[Mapping[str, Any]], RequestReason]] = {
    "extra_forbidden": lambda _: RequestReason("unknown_name"),
    "greater_than_equal": lambda values: RequestReason("number_from", low=values["ge"], rest=""),
    "json_invalid": lambda _: RequestReason("not_an_object"),
    "less_than_equal": lambda values: RequestReason("number_to", high=values["le"]),
    "literal_error": lambda values: RequestReason("choice", choices=values["expected"]),
    "missing": lambda _: RequestReason("missing"),
    "model_attributes_type": lambda _: RequestReason("not_an_object"),
    "string_too_long": lambda values: RequestReason("text_too_long", most=values["max_length"]),
    "too_long": lambda values: RequestReason("too_many_entries", most=values["max_length"]),
    "too_short": lambda _: RequestReason("missing"),
}
"""By pydantic's type of error; the values have pydantic's names."""
_WRONG_KINDS = ("_type", "_parsing", "_from_float")
_KINDS = {
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "string": "text",
}
"""Kinds of values by the first word of pydantic's type of error."""
_EXACT_KINDS = {
    "finite_number": "a finite number",
    "int_parsing_size": "a whole number of fewer digits",
    "string_unicode": "text without lone surrogates of Unicode",
}


def find_field(error: Mapping[str, Any]) -> str | None:
    """Return the name of the field of an error of pydantic; `body` for a body as a whole."""
    place = [str(part) for part in error["loc"]]
    # Behind an invalid body stands the place in its text.
    inner = [] if error["type"] == "json_invalid" else place[1:]
    return ".".join(inner or place[:1]) or None


def find_field_reason(error: Mapping[str, Any]) -> RequestReason | None:
    """Return the reason of an error of pydantic, or None for one without."""
    kind = error["type"]
    if kind in _REASONS:
        return _REASONS[kind](error.get("ctx", {}))
    name = _EXACT_KINDS.get(kind)
    if name is None and kind.endswith(_WRONG_KINDS):
        name = _KINDS.get(kind.partition("_")[0])
    return None if name is None else RequestReason("wrong_kind", kind=name)
