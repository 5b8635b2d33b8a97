"""Declarations of request fields: type, default, limits, unit, help and example, in one place.

`GenerationRequest` declares each field with `declare`. Validation, the options of
the command line, the OpenAPI schema, Cog's inputs, the web form, the client's types and the tables
of the documentation are all derived from `read_specs`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from musicgen.errors import (
    InvalidContinuation,
    InvalidRequest,
    PromptTooLong,
    UnknownModel,
    find_nearest,
)
from musicgen.errors.request_reasons import RequestReason
from musicgen.request.limits import PROMPT_MAX_CHARACTERS
from musicgen.request.texts import check_text

Kind = Literal[
    "text", "model", "texts", "sections", "audio", "integer", "number", "boolean", "choice"
]
Group = Literal["Music", "Prompts", "Input audio", "Loop", "Finish", "File", "Sampling"]
_KEY = "spec"


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """Declaration of one request field.

    `help`: one or two sentences for every caller. `label`: its name on the web form. `group`:
    heading there and in the documentation. `low`, `high`: inclusive limits in `unit`, None for no
    limit. `error`: class raised for a bad value. `note`: explains a special value. `needs`: other
    fields it depends on. `example`: a request that uses it. `option`: its option on the command
    line, with `metavar` for the value. `on_cog`: whether Cog's runner has it.
    """

    kind: Kind
    help: str
    label: str
    group: Group
    example: Mapping[str, Any]
    low: float | None = None
    high: float | None = None
    unit: str = ""
    choices: tuple[str, ...] | tuple[int, ...] = ()
    error: type[InvalidRequest] = InvalidRequest
    note: str = ""
    needs: str = ""
    option: str = ""
    metavar: str = ""
    on_cog: bool = True
    name: str = ""
    default: Any = None

    @property
    def is_optional(self) -> bool:
        """Whether None is allowed, for "not given"."""
        return self.default is None

    @property
    def description(self) -> str:
        """The help with the unit and the fields it needs, for readers of a schema."""
        unit = f" In {self.unit}." if self.unit else ""
        return f"{self.help}{unit}{f' Needs {self.needs}.' if self.needs else ''}"

    @property
    def allowed(self) -> str:
        """The values it takes, as a phrase: "a number from 0.1 to 300 seconds"."""
        if self.kind in ("integer", "number"):
            kind = "a whole number" if self.kind == "integer" else "a number"
            return f"{kind}{' of' if self.high is None else ''} {self.range}".removesuffix(" of ")
        return {
            "text": f"a text of at most {PROMPT_MAX_CHARACTERS} characters",
            "model": "the name of a model",
            "texts": "a list of texts",
            "sections": 'a list of {"prompt": text, "duration": seconds}',
            "audio": "a file that the platform has fetched",
            "boolean": "true or false",
            "choice": f"one of {', '.join(map(str, self.choices))}{_spaced(self.unit)}",
        }[self.kind]

    @property
    def range(self) -> str:
        """The limits alone: "from 0.1 to 300 seconds"; empty without limits."""
        if self.low is None:
            return ""
        numbers = f"at least {self.low:.12g}" if self.high is None else self._span
        return f"{numbers}{_spaced(self.unit)}{_spaced(self.note)}"

    @property
    def _span(self) -> str:
        return f"from {self.low:.12g} to {self.high:.12g}"

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind == "integer" or isinstance(next(iter(self.choices), None), int)

    def convert(self, value: object) -> object:
        """Return a whole number that came as a fraction (44100.0) as the integer.

        JSON Schema calls it an integer, and many JSON libraries and Cog pass it on as a float.
        """
        return to_integer(value) if self.is_whole else value

    def check(self, value: object) -> None:
        """Raise `error` for a value of the wrong type or out of limits."""
        if value is None and self.is_optional:
            return
        if self.kind in ("text", "model"):
            self._check_text(value)
        elif not self._is_allowed(value):
            nearest = find_nearest(value, map(str, self.choices))
            advice = f"Did you mean {nearest}?" if nearest else ""
            raise self.error(self.name, self._build_problem(), value=value, advice=advice)

    def _build_problem(self) -> str:
        """Return "must be ..." with the allowed values: a reason for a field without own error."""
        if self.error not in (InvalidRequest, InvalidContinuation):
            return f"must be {self.allowed}"
        if self.kind == "choice":
            choices = f"{', '.join(map(str, self.choices))}{_spaced(self.unit)}"
            return RequestReason("choice", choices=choices)
        if self.kind not in ("integer", "number") or self.low is None:
            return f"must be {self.allowed}"
        kind = "whole" if self.kind == "integer" else "number"
        rest = f"{_spaced(self.unit)}{_spaced(self.note)}"
        if self.high is None:
            return RequestReason(f"{kind}_from", low=self.low, rest=rest)
        return RequestReason(f"{kind}_between", low=self.low, high=self.high, rest=rest)

    def _check_text(self, value: object) -> None:
        if not isinstance(value, str):
            raise InvalidRequest(self.name, "must be text", value=value)
        if self.kind == "model" and len(value) > PROMPT_MAX_CHARACTERS:
            raise UnknownModel(self.name, f"must be {self.allowed}", value=value)
        if len(value) > PROMPT_MAX_CHARACTERS:
            raise PromptTooLong(
                self.name, f"must have at most {PROMPT_MAX_CHARACTERS} characters", value=value
            )
        check_text(self.name, value)

    def _is_allowed(self, value: object) -> bool:
        # bool is an int in Python: `duration: true` would otherwise pass as one second.
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        if self.kind == "integer":
            return is_integer and self._is_within(value)
        if self.kind == "number":
            return (is_integer or isinstance(value, float)) and self._is_within(value)
        if self.kind == "boolean":
            return isinstance(value, bool)
        if self.kind == "choice":
            # By type as well: True equals an integer and would fail much later.
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        return self.kind != "audio" or isinstance(value, Path)

    def _is_within(self, value: Any) -> bool:
        low = -sys.float_info.max if self.low is None else self.low
        high = sys.float_info.max if self.high is None else self.high
        # NaN is on neither side of anything, so it fails too.
        return bool(low <= value <= high)


def to_integer(value: object) -> object:
    """Return a float without a fraction as an int, and any other value as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def declare(kind: Kind, default: Any = None, **spec: Any) -> Any:
    """Declare a field of a dataclass; `spec` holds the other attributes of `FieldSpec`."""
    declared = FieldSpec(kind=kind, default=default, **spec)
    return field(default=default, metadata={_KEY: declared})


@cache
def read_specs(request_class: type) -> Mapping[str, FieldSpec]:
    """Return the declarations of a dataclass by field name."""
    declared: dict[str, Any] = request_class.__dataclass_fields__  # type: ignore[attr-defined]
    return {name: replace(f.metadata[_KEY], name=name) for name, f in declared.items()}


def _spaced(text: str) -> str:
    return f" {text}" if text else ""
