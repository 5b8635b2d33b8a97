"""Texts for people with a stable code for programs, such as a page in another language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self


class CodedText(str):
    """English text of a template, with the template's `code` and the `values` in it.

    A subclass names its templates by code in `texts`.
    """

    texts: ClassVar[Mapping[str, str]]
    code: str
    values: Mapping[str, Any]

    def __new__(cls, code: str, **values: Any) -> Self:
        """Return the text of a code. Raises: KeyError for an unknown one."""
        text = super().__new__(cls, cls.texts[code].format(**values))
        text.code, text.values = code, MappingProxyType(values)
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made of; the text alone would not do."""
        return _restore, (type(self), self.code, dict(self.values))


def _restore(kind: type[CodedText], code: str, values: Mapping[str, Any]) -> CodedText:
    return kind(code, **values)
