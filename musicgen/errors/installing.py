"""Command that installs an extra, for a checkout and for an installed wheel."""

from __future__ import annotations

from pathlib import Path

from musicgen import __title__

_ROOT = Path(__file__).parents[2]


def describe_install(extra: str) -> str:
    """Return the command that adds the packages of an extra, or of the core for "".

    pip keeps a wheel that is installed already, and adds the packages to it.
    """
    wanted = f"[{extra}]" if extra else ""
    if (_ROOT / "pyproject.toml").is_file():
        return f"pip install -e '.{wanted}' in the project's folder"
    return f"pip install '{__title__}{wanted}'"
