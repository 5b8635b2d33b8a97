"""Parser of compose files with Docker Compose's rules for variables, merging and start order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("compose.yaml")
CPU_FILE = FILE.with_name("compose.cpu.yaml")
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


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped
    """Loader of YAML with Compose's tags: !reset removes a value, !override replaces one."""


class _Reset:
    pass


@dataclass(frozen=True)
class _Override:
    value: Any


def _build_override(loader: _Loader, node: yaml.Node) -> _Override:
    if isinstance(node, yaml.SequenceNode):
        return _Override(loader.construct_sequence(node, deep=True))
    if isinstance(node, yaml.MappingNode):
        return _Override(loader.construct_mapping(node, deep=True))
    return _Override(loader.construct_scalar(node))


_Loader.add_constructor("!reset", lambda loader, node: _Reset())
_Loader.add_constructor("!override", _build_override)


def services(
    variables: Mapping[str, str], *files: Path, profiles: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return the services by name in the order of their dependencies.

    Later files override earlier ones; the default is `FILE`. A service with profiles needs one of
    `profiles`.
    """
    merged: dict[str, Any] = {}
    for file in files or (FILE,):
        merged = _merge(merged, _read_services(file))
    # Parsed before the substitution, as in Docker: the value "off" stays a text.
    found = _substitute_all(merged, variables)
    chosen = {
        name: service
        for name, service in found.items()
        if not service.get("profiles") or set(service["profiles"]) & set(profiles)
    }
    return {name: chosen[name] for name in _sort(chosen)}


def _read_services(file: Path) -> dict[str, Any]:
    """Read the services of one file; `extends` copies a service of a file beside it."""
    found: dict[str, Any] = yaml.load(file.read_text(), _Loader)["services"]
    for name, service in found.items():
        origin = service.pop("extends", None)
        if origin is not None:
            copied = _read_services(file.parent / origin["file"])[origin["service"]]
            found[name] = _merge(copied, service)
    return found


def _merge(below: Any, above: Any) -> Any:
    """Join two values: mappings by key, lists in sequence, and otherwise the later one."""
    if isinstance(above, _Override):
        return above.value
    if isinstance(below, dict) and isinstance(above, dict):
        joined = {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}
        return {key: value for key, value in joined.items() if not isinstance(value, _Reset)}
    if isinstance(below, list) and isinstance(above, list):
        return [*below, *above]
    return above


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
