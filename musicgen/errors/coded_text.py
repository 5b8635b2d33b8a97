"""Texts for people with a stable code for programs, such as a page in another language."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from types import MappingProxyType
from typing import Any, ClassVar, Self

from musicgen.errors.counts import format_count


class CodedText(str):
    """English text of a template, with the template's `code` and the `values` in it.

    A subclass names its templates by code in `texts`. A template gives a number its noun as
    `{most:count entry entries}`: the plural may be left out where it ends in s.
    """

    texts: ClassVar[Mapping[str, str]]
    code: str
    values: Mapping[str, Any]

    def __new__(cls, code: str, **values: Any) -> Self:
        """Return the text of a code. Raises: KeyError for an unknown one."""
        text = super().__new__(cls, _TemplateFormatter().format(cls.texts[code], **values))
        text.code, text.values = code, MappingProxyType(values)
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made of; the text alone would not do."""
        return _restore, (type(self), self.code, dict(self.values))


class _TemplateFormatter(Formatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        kind, *nouns = format_spec.split() or [""]
        return format_count(value, *nouns) if kind == "count" else format(value, format_spec)


def _restore(kind: type[CodedText], code: str, values: Mapping[str, Any]) -> CodedText:
    return kind(code, **values)
