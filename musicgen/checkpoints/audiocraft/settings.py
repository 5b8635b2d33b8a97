"""Settings of an audiocraft run: the YAML text under `xp.cfg` in each of its files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from musicgen.errors import CheckpointCorrupt, CheckpointIncomplete, UnsupportedCheckpoint

KEY = "xp.cfg"
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_MAX_CHARACTERS = 2**20
_MAX_REFERENCES = 16
_MISSING = "???"
_ABSENT: Any = object()


class RunSettings:
    """Settings by dotted path, with references such as `${sample_rate}` resolved.

    `file`: the name of their file in errors. A path that is absent has audiocraft's own default,
    given by the caller.
    """

    def __init__(self, file: str, tree: Mapping[str, Any]) -> None:
        self._file = file
        self._tree = tree

    @classmethod
    def from_yaml(cls, file: str, text: object) -> RunSettings:
        """Parse `text`. Raises: `CheckpointCorrupt`."""
        import yaml

        if not isinstance(text, str) or len(text) > _MAX_CHARACTERS:
            raise CheckpointCorrupt(f"{file}: {KEY} is not a text of settings.")
        try:
            tree = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise CheckpointCorrupt(f"{file}: {KEY} is not YAML ({reason}).") from error
        if not isinstance(tree, dict) or not _is_small(tree):
            raise CheckpointCorrupt(
                f"{file}: {KEY} holds no settings. Export it again with audiocraft."
            )
        return cls(file, tree)

    def get(self, path: str, default: Any = _ABSENT) -> Any:
        """Return the value at `path`, or `default`.

        Raises: `CheckpointIncomplete` for an absent value without default.
        """
        value = self._find(path)
        for _ in range(_MAX_REFERENCES):
            reference = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
            if reference is None:
                break
            value = self._find(reference[1])
        if isinstance(value, str) and "${" in value:
            self.refuse(path, value, "It must be written without references.")
        if value is not _ABSENT and value != _MISSING:
            return value
        if default is _ABSENT:
            raise CheckpointIncomplete(
                f"{self._file}: {KEY} has no {path}. Export it again with audiocraft."
            )
        return default

    def section(self, path: str) -> Mapping[str, Any]:
        """Return the settings below `path`, or an empty mapping."""
        value = self.get(path, None)
        return value if isinstance(value, dict) else {}

    def get_number(self, path: str, default: Any = _ABSENT) -> int:
        """Return a whole number of at least 1. Raises: `UnsupportedCheckpoint`."""
        value = self.get(path, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self.refuse(path, value, "It must be a whole number of at least 1.")
        return value

    def require(self, path: str, *allowed: Any, default: Any = _ABSENT) -> Any:
        """Return the value at `path`. Raises: `UnsupportedCheckpoint` unless it is `allowed`."""
        value = self.get(path, default)
        # 1 equals True in Python.
        if not any(type(value) is type(one) and value == one for one in allowed):
            self.refuse(path, value, f"It must be {' or '.join(map(_show, allowed))}.")
        return value

    def require_known(self, path: str, known: Collection[str]) -> None:
        """Refuse a setting below `path` with an unknown name.

        It may change the model. Raises: `UnsupportedCheckpoint`.
        """
        for name, value in self.section(path).items():
            if name not in known:
                self.refuse(f"{path}.{name}", value, "Its meaning is unknown here.")

    def refuse(self, path: str, value: Any, allowed: str) -> NoReturn:
        """Raise `UnsupportedCheckpoint` for a setting."""
        raise UnsupportedCheckpoint(
            f"{self._file}: the setting {path} cannot be converted (was {_show(value)}). {allowed}"
        )

    def _find(self, path: str) -> Any:
        value: Any = self._tree
        for part in path.split("."):
            if not isinstance(value, dict) or part not in value:
                return _ABSENT
            value = value[part]
        return value


def _is_small(tree: object) -> bool:
    """Return whether a tree has no more than `_MAX_CHARACTERS` in all. Aliases can multiply it."""
    waiting, size = [tree], 0
    while waiting and size <= _MAX_CHARACTERS:
        value = waiting.pop()
        size += len(value) if isinstance(value, str) else 1
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    return size <= _MAX_CHARACTERS


def _show(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
