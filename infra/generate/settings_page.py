"""docs/settings.md, from the declarations of the settings classes."""

from __future__ import annotations

import re
from pathlib import Path

from musicgen.settings.declaration import Declaration
from musicgen.settings.table import list_settings

_HEAD = """# Settings

All settings are environment variables. An empty variable counts as unset. A wrong value stops the
start with an error naming the variable. Errors never show tokens and keys. A variable that begins
with `MUSICGEN_` and is not in these tables stops the start too, with the nearest name. Kubernetes
describes each Service to its pods in such variables (`..._SERVICE_HOST`, `..._PORT=tcp://...`),
and these are ignored. `musicgen doctor` checks all settings at once. `docs/runbook.md` lists the
exit statuses.

Written by `python -m infra.generate` from `musicgen/settings`; do not edit this page.
"""
_VARIABLE = re.compile(r"(?<![`A-Z_])[A-Z]+(?:_[A-Z]+)+(?![`A-Z_])")
_COLUMNS = "| variable | default | allowed | meaning |\n|---|---|---|---|\n"


def render() -> str:
    """Return the text of the page."""
    sections = (
        f"\n## {heading}\n\n{_COLUMNS}{''.join(map(_render_row, declared))}"
        for heading, declared in list_settings().items()
    )
    return _HEAD + "".join(sections)


def _render_row(declared: Declaration) -> str:
    note = f" `{declared.fallback}` is read if it is unset." if declared.fallback else ""
    cells = (f"`{declared.variable}`", _render_default(declared), _render_allowed(declared))
    return f"| {' | '.join(cells)} | {_quote(declared.help)}{note} |\n"


def _render_default(declared: Declaration) -> str:
    default = declared.default
    if declared.unset:
        return _quote(declared.unset)
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return f"`{','.join(default)}`"
    if isinstance(default, bool):
        return f"`{int(default)}`"
    if isinstance(default, (int, float)):
        return f"`{default:.12g}`"
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"


def _render_allowed(declared: Declaration) -> str:
    if declared.choices:
        return ", ".join(f"`{choice}`" for choice in declared.choices)
    return "" if declared.values == "a text" else declared.values


def _quote(text: str) -> str:
    """Return a text with the names of variables in backquotes."""
    return _VARIABLE.sub(lambda found: f"`{found[0]}`", text)
