"""Parser of the compose file with Docker Compose's rules for variables and the start order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("compose.yaml")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")


class ComposeError(ValueError):
    """Error in the compose file or in its variables."""


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Replace ${NAME}, ${NAME:-default} and ${NAME:?why} by the values of variables.

    Raises: `ComposeError` for a required variable without a value.
    """

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3] or ""
        setting = variables.get(name, "")
        if not setting and kind == "?":
            raise ComposeError(f"{name} is not set: {rest or 'see .env.example'}")
        return setting or (rest if kind == "-" else "")

    return _VARIABLE.sub(value, text)


def services(variables: Mapping[str, str], file: Path = FILE) -> dict[str, dict[str, Any]]:
    """Return the services by name in the order of their dependencies, without those of profiles."""
    services = yaml.safe_load(file.read_text())["services"]
    # Parsed before the substitution, as in Docker: the value "off" stays a text.
    services = _substitute_all(services, variables)
    plain = {name: service for name, service in services.items() if not service.get("profiles")}
    return {name: plain[name] for name in _sort(plain)}


def _substitute_all(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return substitute(node, variables)
    if isinstance(node, list):
        return [_substitute_all(item, variables) for item in node]
    if isinstance(node, dict):
        return {name: _substitute_all(item, variables) for name, item in node.items()}
    return node


def _sort(services: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    done: set[str] = set()
    while len(done) < len(services):
        ready = [
            name
            for name, service in services.items()
            if name not in done and set(service.get("depends_on", ())) <= done
        ]
        if not ready:
            raise ComposeError(f"services depend on each other: {sorted(set(services) - done)}")
        yield from ready
        done |= set(ready)
