"""Reading the compose file as Docker Compose would: variables, order, commands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("compose.yaml")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(-|\?)([^}]*))?\}")


class ComposeError(ValueError):
    """The file, or what it is filled in with, cannot be run."""


def filled(text: str, variables: Mapping[str, str]) -> str:
    """`text` with ${NAME}, ${NAME:-default} and ${NAME:?why} filled in.

    Raises: `ComposeError` naming a variable that has to be given.
    """

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match[1], match[2], match[3] or ""
        given = variables.get(name, "")
        if not given and kind == "?":
            raise ComposeError(f"{name} has to be given: {rest or 'see .env.example'}")
        return given or (rest if kind == "-" else "")

    return _VARIABLE.sub(value, text)


def services(variables: Mapping[str, str], file: Path = FILE) -> dict[str, dict[str, Any]]:
    """By name, in the order in which they may be started; those of a profile left out."""
    found = yaml.safe_load(file.read_text())["services"]
    # Filled in afterwards, as Docker does: an "off" that is given stays a text.
    found = _filled_in(found, variables)
    plain = {name: each for name, each in found.items() if not each.get("profiles")}
    return {name: plain[name] for name in _ordered(plain)}


def _filled_in(node: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return filled(node, variables)
    if isinstance(node, list):
        return [_filled_in(each, variables) for each in node]
    if isinstance(node, dict):
        return {name: _filled_in(each, variables) for name, each in node.items()}
    return node


def _ordered(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    done: set[str] = set()
    while len(done) < len(found):
        ready = [
            name
            for name, each in found.items()
            if name not in done and set(each.get("depends_on", ())) <= done
        ]
        if not ready:
            raise ComposeError(f"these wait for each other: {sorted(set(found) - done)}")
        yield from ready
        done |= set(ready)
