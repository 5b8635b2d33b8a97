"""Plural nouns right after a number in a text, which would read "1 jobs" for a single one.

`musicgen.errors.counts.format_count` chooses the form. A value with a plural behind it is found in
f-strings, in templates ("{most} entries") and in formats of logs ("%d jobs").
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VERBS = frozenset({
    *("accepts", "answers", "belongs", "changes", "contains", "costs", "cuts", "differs", "does"),
    *("ends", "exists", "forbids", "gives", "has", "holds", "imports", "installs", "is", "kills"),
    *("lacks", "merges", "moves", "names", "needs", "overlaps", "runs", "scales", "sends"),
    *("serves", "sets", "stays", "takes", "uses", "was"),
})  # fmt: skip
"""Verbs behind a value that names a thing: add one where it is missing."""
NO_NOUNS = VERBS | {"as", "process", "s", "ms", "this"}
_ENDS = NO_NOUNS | {"after", "and", "at", "for", "from", "in", "of", "on", "or", "to", "with"}
"""Words behind which another noun than that of the number may stand."""
WORDS = frozenset({"kind", "self._kind", "start", "total_fmt", "verb"})
"""Values that are words, or a number of many written by another program."""
_FIELD = re.compile(r"%[-.\d]*[dgs]|\{(\w[^{}]*)\}")
_BEHIND = re.compile(r"(?: [A-Za-z-]+)+(?![\w=])")


@dataclass(frozen=True)
class NumberedText:
    """A value in a text: its expression, the text behind it, its line."""

    value: str
    behind: str
    line: int


def find_plurals(trees: Mapping[Path, ast.Module]) -> list[str]:
    """Return the places with a plural behind a value, each as one line."""
    nouns = {noun for tree in trees.values() for noun in _list_counted_nouns(tree)}
    return [
        f"{path}:{text.line}: {{{text.value}}}{text.behind}"
        for path, tree in trees.items()
        for text in _list_texts(tree)
        if not _is_fixed(text.value) and _begins_with_plural(text.behind, nouns)
    ]


def _begins_with_plural(behind: str, nouns: set[str]) -> bool:
    words = behind.split()
    # An adjective may stand before the noun.
    for index, word in enumerate(words[:3]):
        if word in _ENDS:
            return False
        if word in nouns or (index == 0 and word.endswith("s")):
            return True
    return False


def _is_fixed(value: str) -> bool:
    """Whether a value is no number, or a constant of the code, whose noun was chosen once."""
    return value in WORDS or value[0] in "'\"" or value.rpartition(".")[2].strip("_").isupper()


def _list_counted_nouns(tree: ast.Module) -> Iterator[str]:
    """Yield the plurals of the nouns given to `format_count`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "format_count":
            values = [arg.value for arg in node.args[1:] if isinstance(arg, ast.Constant)]
            for noun in (value for value in values if isinstance(value, str)):
                yield f"{noun.split()[-1]}s"


def _list_texts(tree: ast.Module) -> Iterator[NumberedText]:
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from _list_values(node)
        elif isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield from _list_fields(node)


def _list_values(text: ast.JoinedStr) -> Iterator[NumberedText]:
    for value, after in zip(text.values, text.values[1:], strict=False):
        if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
            behind = _BEHIND.match(str(after.value))
            if behind:
                yield NumberedText(ast.unparse(value.value), behind[0], value.lineno)


def _list_fields(node: ast.Constant) -> Iterator[NumberedText]:
    if not isinstance(node.value, str):
        return
    for field in _FIELD.finditer(node.value):
        behind = _BEHIND.match(node.value, field.end())
        if behind:
            yield NumberedText((field[1] or field[0]).partition(":")[0], behind[0], node.lineno)
