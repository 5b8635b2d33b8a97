"""Command that installs an extra, for a checkout and for an installed wheel.

The project is on no package index, so a wheel's command needs the wheel.
"""

from __future__ import annotations

from pathlib import Path

_ROOT = Path(__file__).parents[2]


def describe_install(extra: str) -> str:
    """Return the command that adds the packages of an extra, or of the core for ""."""
    wanted = f"[{extra}]" if extra else ""
    if (_ROOT / "pyproject.toml").is_file():
        return f"pip install -e '.{wanted}' in the project's folder"
    return f"pip install 'WHEEL{wanted}' with the path of the project's wheel"
