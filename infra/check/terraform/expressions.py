"""References and function calls in expressions, as python-hcl2 returns them.

A value is a number, a boolean, a list, a mapping, `"text ${expression}"` with its quotation
marks, or `${expression}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.check.terraform.modules import IS_BLOCK

_NAME = re.compile(
    r"(?<![\w.\-*])([A-Za-z_][\w-]*)((?:\.(?:[\w-]+|\*)|\[[^\[\]]*\])*)\s*(\(|=(?![=>])|)"
)
_FOR = re.compile(r"\bfor\s+([\w-]+)(?:\s*,\s*([\w-]+))?\s+in\b")
_KEYWORDS = {"for", "in", "if", "true", "false", "null", "else", "endif", "endfor"}
Reference = tuple[str, ...]
"""Parts of a traversal; an index is `[]`."""


def find_references(value: Any, names: frozenset[str] = frozenset()) -> Iterator[Reference]:
    """Yield the references in a value. `names`: iterators of surrounding dynamic blocks."""
    for texts in _list_expressions(value):
        pairs = [pair for text in texts for pair in _FOR.findall(text)]
        inner = names | {name for pair in pairs for name in pair if name}
        for found in (found for text in texts for found in _NAME.finditer(text)):
            name, path, follower = found.groups()
            if name in _KEYWORDS or name in inner or follower:
                continue
            for index in re.findall(r"\[([^\[\]]*)\]", path):
                yield from find_references("${" + index + "}", inner)
            yield (name, *re.findall(r"[\w-]+|\*|\[\]", re.sub(r"\[[^\[\]]*\]", ".[]", path)))


def find_calls(value: Any) -> Iterator[str]:
    """Yield the names of called functions."""
    for text in (text for texts in _list_expressions(value) for text in texts):
        for found in _NAME.finditer(text):
            if found[3] == "(" and found[1] not in _KEYWORDS:
                yield found[1]


def is_expression(value: Any) -> bool:
    """Return whether a value is known only after an evaluation."""
    return isinstance(value, str) and "${" in value


def _list_expressions(value: Any) -> Iterator[list[str]]:
    """Yield the expressions of every text in a value, with empty strings in place of strings."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != IS_BLOCK:
                yield from _list_expressions(key if key.startswith(('"', "$", "(")) else None)
                yield from _list_expressions(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _list_expressions(inner)
    elif isinstance(value, str) and value.startswith('"'):
        yield _read_template(value, 1)[0]
    elif isinstance(value, str) and value.startswith("${"):
        yield _read_expression(value, 2)[0]


def _read_expression(text: str, start: int) -> tuple[list[str], int]:
    """Return the expressions up to the closing brace, and the place after it."""
    own, found, depth, at = "", [], 0, start
    while at < len(text):
        if text[at] == '"':
            inner, at = _read_template(text, at + 1)
            found += inner
            own += '""'
            continue
        depth += (text[at] == "{") - (text[at] == "}")
        if depth < 0:
            break
        own += text[at]
        at += 1
    return [own, *found], at + 1


def _read_template(text: str, start: int) -> tuple[list[str], int]:
    """Return the expressions in a string up to its end, and the place after it."""
    found: list[str] = []
    at = start
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 2
        elif text.startswith("$${", at):
            at += 3
        elif text.startswith("${", at):
            inner, at = _read_expression(text, at + 2)
            found += inner
        else:
            at += 1
    return found, at + 1
