"""Values for PostgreSQL, which refuses null characters, unpaired surrogates, NaN and infinity."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from psycopg.types.json import Jsonb

_REFUSED = re.compile("[\0\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether the database takes a text."""
    return _REFUSED.search(text) is None


def escape(text: str) -> str:
    """Return a text with an escape in place of each character that the database refuses."""
    return _REFUSED.sub(lambda found: repr(found[0])[1:-1], text)


def list_texts(value: object) -> Iterator[str]:
    """Return all texts of a JSON value, those of names too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from list_texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from list_texts(item)


def to_jsonb(value: Mapping[str, Any]) -> Jsonb:
    """Return JSON for the database: texts escaped, null for a number that JSON lacks.

    For results, errors and licences: a remote deployment, a file or a model may put anything into
    them. A job without its end would stay in the queue, and a worker without its row be unknown.
    """
    return Jsonb(_clean(value))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {escape(str(name)): _clean(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value
