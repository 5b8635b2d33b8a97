"""The layout of `tofu fmt`: indentation by depth, aligned equals signs, no stray spaces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_ARGUMENT = re.compile(r"^(\s*)([\w\"./-]+)(\s+)= (.*)$")
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"")


def check_format(path: Path) -> Iterator[str]:
    """Yield the lines of a file that `tofu fmt` would change."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield f"{path.name}: does not end with one line feed"
    yield from _check_indentation(path.name, lines)
    yield from _check_alignment(path.name, lines)


def _check_indentation(name: str, lines: list[str]) -> Iterator[str]:
    depth = 0
    for number, line in enumerate(lines, 1):
        code = _STRING.sub('""', line).split("#")[0]
        opened = len(re.findall(r"[{(\[]", code))
        closed = len(re.findall(r"[})\]]", code))
        leading = len(re.match(r"[})\]\s]*", code)[0].replace(" ", ""))  # type: ignore[index]
        if line != line.rstrip() or "\t" in line:
            yield f"{name}:{number}: has a tab or a space at its end"
        elif line and len(line) - len(line.lstrip()) != 2 * (depth - min(leading, 1)):
            yield f"{name}:{number}: is not indented by two spaces a level"
        # Brackets opened on one line count once, as `yamlencode({` does.
        depth += (opened > closed) - (closed > opened)


def _check_alignment(name: str, lines: list[str]) -> Iterator[str]:
    """Check groups of adjacent arguments of one line each."""
    group: list[tuple[int, int, int]] = []
    for number, line in enumerate([*lines, ""], 1):
        found = _ARGUMENT.match(line)
        is_open = found is not None and re.search(r"[{(\[]$", found[4]) is not None
        if found and not is_open:
            width = len(found[1]) + len(found[2])
            group.append((number, width, width + len(found[3])))
            continue
        # The first line of a long value aligns with none.
        if found and len(found[3]) != 1:
            yield f"{name}:{number}: has more than one space before ="
        if group:
            place = max(width for _, width, _ in group) + 1
            yield from (f"{name}:{n}: = is not aligned" for n, _, at in group if at != place)
        group = []
