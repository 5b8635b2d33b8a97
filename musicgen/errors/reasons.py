"""Phrases of errors with a stable code and values, for a page in another language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self


class Reason(str):
    """English phrase, with the `code` of its template in `texts` and the `values` in it."""

    texts: ClassVar[Mapping[str, str]] = MappingProxyType({})
    code: str
    values: Mapping[str, Any]

    def __new__(cls, code: str, **values: Any) -> Self:
        """Return the reason of a code. Raises: KeyError for an unknown one."""
        reason = super().__new__(cls, cls.texts[code].format(**values))
        reason.code, reason.values = code, MappingProxyType(values)
        return reason

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return the reason that another process has sent by `to_mapping`."""
        return cls(mapping["reason"], **mapping["values"])

    def to_mapping(self) -> dict[str, Any]:
        """Return code and values as JSON types."""
        return {"reason": self.code, "values": dict(self.values)}

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a copy is made of; the text alone would not do."""
        return type(self).from_mapping, (self.to_mapping(),)
