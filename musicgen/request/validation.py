"""What several checks of a request need. Imports no torch."""

from __future__ import annotations

import sys
from typing import cast

from musicgen.errors import InvalidRequest


def check_number(
    field: str,
    value: object,
    error: type[InvalidRequest],
    low: float,
    high: float | None = None,
    unit: str = "",
    note: str = "",
) -> None:
    """Raises: `error` for what is no number from `low` to `high`, None being no limit."""
    allowed = f"{low:g} or more" if high is None else f"a number from {low:g} to {high:g}"
    highest = sys.float_info.max if high is None else high
    # bool is an int in Python: `duration: true` would otherwise pass as one second.
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # NaN is on neither side of anything, so it fails the comparison too.
    if not is_number or not low <= cast(float, value) <= highest:
        raise error(field, value, f"{allowed}{unit}{note}")


def check_integer(
    field: str, value: object, error: type[InvalidRequest], low: int, high: int
) -> None:
    """Raises: `error` for what is no whole number from `low` to `high`."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise error(field, value, f"a whole number from {low} to {high}")


def check_bool(field: str, value: object, error: type[InvalidRequest] = InvalidRequest) -> None:
    if not isinstance(value, bool):
        raise error(field, value, "true or false")
