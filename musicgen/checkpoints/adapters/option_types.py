"""Types of the options that the merge of an adapter reads. Imports no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from musicgen.errors import CheckpointCorrupt, show_value

_TOKENS_MAX = 2**31


def check_types(path: Path, config: Mapping[str, Any]) -> None:
    """Check the options in the file `path`. Raises: `CheckpointCorrupt`."""
    for name, (has_type, allowed) in _TYPES.items():
        if name in config and not has_type(config[name]):
            was = show_value(config[name])
            raise CheckpointCorrupt(f"{path}: {name} must be {allowed} (was {was}).")


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]


def _is_rank(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_pattern(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except (re.error, RecursionError, OverflowError):
        return False


def _has_patterns(is_value: Callable[[object], bool]) -> Callable[[object], bool]:
    def check(value: object) -> bool:
        if value is None:
            return True
        return isinstance(value, dict) and all(
            _is_pattern(key) and is_value(each) for key, each in value.items()
        )

    return check


def _is_names(value: object) -> bool:
    is_list = isinstance(value, list) and all(isinstance(name, str) for name in value)
    return value is None or is_list


def _is_targets(value: object) -> bool:
    return _is_names(value) or _is_pattern(value)


def _is_tokens(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(rows, list) and _is_tokens(rows) for rows in value.values())
    if value is None:
        return True
    return isinstance(value, list) and all(
        isinstance(row, int) and 0 <= row < _TOKENS_MAX for row in value
    )


_TOKENS = (_is_tokens, "a list of token numbers, or one for each module")
_TYPES: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "r": (_is_rank, "a whole number above 0"),
    "alpha": (_is_number, "a number"),
    "lora_alpha": (_is_number, "a number"),
    "alpha_pattern": (_has_patterns(_is_number), "a number for each pattern of names"),
    "rank_pattern": (_has_patterns(_is_rank), "a whole number above 0 for each pattern of names"),
    "target_modules": (_is_targets, "a list of names, or a pattern of names"),
    "modules_to_save": (_is_names, "a list of names"),
    "token_indices": _TOKENS,
    "trainable_token_indices": _TOKENS,
}
