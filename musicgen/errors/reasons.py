"""Phrases of errors with a stable code and values, for a page in another language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from musicgen.errors.coded_text import CodedText


class Reason(CodedText):
    """English phrase of an error that one process may send to another."""

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return the reason that another process has sent by `to_mapping`."""
        return cls(mapping["reason"], **mapping["values"])

    def to_mapping(self) -> dict[str, Any]:
        """Return code and values as JSON types."""
        return {"reason": self.code, "values": dict(self.values)}
