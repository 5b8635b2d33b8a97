"""The table of request fields: every field, declared once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from musicgen.request.fields import FieldSpec, read_specs
from musicgen.request.music_fields import MusicFields
from musicgen.request.output_fields import OutputFields
from musicgen.request.style_fields import StyleFields


@dataclass(frozen=True, kw_only=True)
class RequestFields(OutputFields, StyleFields, MusicFields):
    """Every field of a request, not yet validated."""


def request_fields() -> Mapping[str, FieldSpec]:
    """Return the declaration of each request field by its name."""
    return read_specs(RequestFields)
