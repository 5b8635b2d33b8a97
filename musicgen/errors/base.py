"""Base class of all errors, and helpers for their messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import PurePath
from typing import Any

from musicgen.errors.counts import format_count

OMITTED: Any = object()
"""In place of a value that a message need not show."""
NAME_MAX = 80
"""Characters of the longest name that can be a misspelling."""


class MusicGenError(Exception):
    """Base of all errors of this project. `code` is stable: callers may switch on it."""

    code = "internal_error"


def show_value(value: object, limit: int = 80) -> str:
    """Return a value for a message, cut if it is long: a path at its beginning."""
    if isinstance(value, PurePath):
        text = str(value)
        return repr(text if len(text) <= limit else f"…{text[-limit:]}")
    try:
        text = repr(value)
    except (RecursionError, ValueError):
        # Nested too deeply, or an integer of thousands of digits.
        return f"a {type(value).__name__} that cannot be shown"
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… ({format_count(len(text), 'character')})"


def show_name(name: object, limit: int = 80) -> str:
    """Return a name sent by a caller for a message: printable, and cut if it is long."""
    text = str(name)
    if not text.strip():
        # A message must not begin with nothing.
        text = repr(text)
    elif not text.isprintable():
        text = repr(text)[1:-1]
    return text if len(text) <= limit else f"{text[:limit]}…"


def find_nearest(name: object, known: Iterable[str]) -> str | None:
    """Return the known name nearest to a misspelt one of any type, or None."""
    text = name if isinstance(name, str) else show_value(name)
    if len(text) > NAME_MAX:
        # No misspelling, and comparing megabytes takes seconds.
        return None
    near = get_close_matches(text, list(known), n=1)
    return near[0] if near else None
