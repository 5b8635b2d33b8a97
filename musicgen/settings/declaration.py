"""Declarations of environment variables: type, default, limits, unit and help, in one place.

Each settings class declares its fields with `setting`. Reading, validation and docs/settings.md
are derived from `read_declarations`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from urllib.parse import urlsplit

from musicgen.errors import SettingsError
from musicgen.settings.names import is_service_link, list_unknown

Kind = Literal["text", "path", "integer", "number", "amount", "switch", "list", "networks"]
"""`number` is a float, `amount` a `Decimal`; `list` and `networks` are tuples of texts."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})
_KEY = "declaration"
_declared: set[str] = set()


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """Declaration of one environment variable.

    `help`: one or two sentences for the operator. `least`, `most`: inclusive limits, in `unit`.
    `choices`: the allowed values, empty for any. `pattern`: regular expression for the whole text,
    described by `form`. `unset`: replaces the default in tables. `fallback`: variable of another
    program, read if this one is unset. `is_secret`: never shown.
    """

    variable: str
    kind: Kind
    help: str
    default: Any = None
    least: float | None = None
    most: float | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""
    unset: str = ""
    fallback: str = ""
    is_secret: bool = False

    @property
    def values(self) -> str:
        """Allowed values as a phrase: "a whole number of seconds from 1 to 60"."""
        if self.choices:
            *others, last = self.choices
            return f"{', '.join(others)} or {last}"
        if self.form:
            return self.form
        if self.kind in ("integer", "number", "amount"):
            number = "a whole number" if self.kind == "integer" else "a number"
            return f"{number}{f' of {self.unit}' if self.unit else ''}{self._limits}"
        return {
            "text": "a text",
            "path": "a path",
            "switch": "1 or 0",
            "list": "values separated by commas",
            "networks": "networks such as 10.1.0.0/16, separated by commas",
        }[self.kind]

    @property
    def _limits(self) -> str:
        low = "" if self.least is None else f" from {self.least:.12g}"
        return low if self.most is None else f"{low} to {self.most:.12g}"

    def read(self, env: Mapping[str, str]) -> Any:
        """Return the value of the variable in `env`, or its default. Raises: `SettingsError`.

        An empty variable counts as unset, and so does one injected by Kubernetes.
        """
        for variable in (self.variable, self.fallback):
            text = env.get(variable)
            if text and not is_service_link(variable, text):
                try:
                    value = self._parse(text)
                except ValueError:
                    raise self._refuse(text, variable) from None
                self.check(value, variable)
                return value
        return self.default

    def check(self, value: Any, variable: str | None = None) -> None:
        """Raise `SettingsError` for a value outside the declaration; None stands for unset."""
        if value is None:
            return
        if self.kind == "networks":
            for network in value:
                if not _is_network(network):
                    raise self._refuse(network, variable)
        elif not self._is_allowed(value):
            raise self._refuse(value, variable)

    def _is_allowed(self, value: Any) -> bool:
        if self.choices and value not in self.choices:
            return False
        if self.pattern and not re.fullmatch(self.pattern, value):
            return False
        # NaN is neither above nor below a limit, so both comparisons must hold.
        is_above = self.least is None or value >= self.least
        return bool(is_above and (self.most is None or value <= self.most))

    def _parse(self, text: str) -> Any:
        """Return the value of a text. Raises: ValueError."""
        if self.kind == "integer":
            if not text.isdecimal():
                raise ValueError
            return int(text)
        if self.kind in ("number", "amount"):
            number = _parse_decimal(text)
            return float(number) if self.kind == "number" else number
        if self.kind == "switch":
            if text.lower() not in _TRUE | _FALSE:
                raise ValueError
            return text.lower() in _TRUE
        if self.kind in ("list", "networks"):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return Path(text) if self.kind == "path" else text

    def _refuse(self, value: Any, variable: str | None) -> SettingsError:
        if isinstance(value, (Decimal, float)):
            is_whole = math.isfinite(value) and value == int(value)
            value = int(value) if is_whole else float(value)
        shown = None if self.is_secret else value
        return SettingsError(variable or self.variable, f"must be {self.values}", value=shown)


def setting(variable: str, kind: Kind, default: Any = None, **details: Any) -> Any:
    """Declare a field of a settings class; `details` are the other attributes of `Declaration`."""
    return declare(Declaration(variable=variable, kind=kind, default=default, **details))


def declare(declaration: Declaration) -> Any:
    """Declare a field by a declaration shared with another class."""
    _declared.update((declaration.variable, declaration.fallback))
    return field(
        default=declaration.default,
        repr=not declaration.is_secret,
        metadata={_KEY: declaration},
    )


def list_misspelt(env: Mapping[str, str]) -> list[SettingsError]:
    """Return an error for each variable with this project's prefix but without a declaration."""
    return list_unknown(env, _declared)


def read_declarations(settings_class: type) -> Mapping[str, Declaration]:
    """Return the declarations of a settings class by field name."""
    fields: dict[str, Any] = settings_class.__dataclass_fields__  # type: ignore[attr-defined]
    declared = {name: f.metadata[_KEY] for name, f in fields.items() if _KEY in f.metadata}
    return MappingProxyType(declared)


def read_variables(settings_class: type, env: Mapping[str, str]) -> dict[str, Any]:
    """Return the value of every declared field of a settings class, by field name.

    Raises: `SettingsError` with the name of the variable.
    """
    declared = read_declarations(settings_class)
    return {name: declaration.read(env) for name, declaration in declared.items()}


def check_settings(settings: object) -> None:
    """Raise `SettingsError` for the first field with a value outside its declaration."""
    for name, declaration in read_declarations(type(settings)).items():
        declaration.check(getattr(settings, name))


def check_url(variable: str, value: str | None) -> None:
    """Raise `SettingsError`, without the value, for a URL with a user name or a password."""
    if "@" in urlsplit(value or "").netloc:
        raise SettingsError(
            variable,
            "must not contain a user name or a password",
            advice="They would appear in logs and errors.",
        )


def _parse_decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite():
        raise ValueError
    return number


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True
