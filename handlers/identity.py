"""Check that the imported package `musicgen` is this project's.

Other projects on PyPI install a package and a command of the same name. pip writes both into one
folder without a word: the later one replaces files of the earlier one, and uninstalling either
removes files of both. Imports the standard library only, because `musicgen` may be another one.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from pathlib import Path

PROJECT = "musicgen-serverless"
PACKAGE = "musicgen"
_MARK = f'__title__ = "{PROJECT}"'
_AGAIN = (
    f"Run pip uninstall {PROJECT} and the other one, then pip install -e . in the project's "
    "folder, or use an environment of its own"
)


def find_foreign_import() -> str | None:
    """Return a sentence if the imported `musicgen` is not this project's, or None."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        where = list(spec.submodule_search_locations or ()) if spec else []
        return (
            f"the package {PACKAGE} has no __init__.py (in {', '.join(where) or 'any folder'}), "
            f"as after uninstalling another project of the same name. {_AGAIN}."
        )
    if _MARK in Path(spec.origin).read_text(encoding="utf-8", errors="replace"):
        return None
    others = ", ".join(list_namesakes()) or "another project"
    return (
        f"the imported package {PACKAGE} is not {PROJECT}, but {others} ({spec.origin}). {_AGAIN}."
    )


def list_namesakes() -> list[str]:
    """Return name and version of the other installed projects with a package `musicgen`."""
    found = {}
    for distribution in distributions():
        name = distribution.metadata["Name"] or ""
        if _normalize(name) != PROJECT and _has_package(distribution):
            found[name] = f"{name} {distribution.version}"
    return sorted(found.values())


def describe_namesakes() -> str | None:
    """Return a sentence about the other installed projects of the same name, or None."""
    others = list_namesakes()
    if not others:
        return None
    return (
        f"{', '.join(others)} installs a package {PACKAGE} and a command {PACKAGE} too: files of "
        f"the two projects mix. {_AGAIN}."
    )


def _has_package(distribution: Distribution) -> bool:
    """Return whether a distribution's records name the package."""
    top = distribution.read_text("top_level.txt")
    if top is not None:
        return PACKAGE in top.split()
    return f"\n{PACKAGE}/__init__.py," in f"\n{distribution.read_text('RECORD') or ''}"


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
