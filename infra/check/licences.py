"""Licences of the images' packages: permissive ones, and those for their own files alone.

Checked are the installed versions. A later image may have newer ones; the next run checks them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement

from infra.check.tools import ToolError, read_output
from infra.lock.files import FILES, normalize, read_inputs

ALLOWED = (
    r"(3-Clause )?BSD\b.*|0BSD|Apache\b.*|MIT\b.*|ISC\b.*|BSL-1\.0|Zlib|CC0-1\.0|The Unlicense.*",
    r"PSF-2\.0|Python Software Foundation\b.*|MPL-2\.0|Mozilla Public License 2\.0.*|LGPL-.*",
    r"GNU Lesser General Public License\b.*",
)
"""LGPL and MPL packages are installed unchanged, and a user can replace them."""
_ALLOWED = re.compile("|".join(ALLOWED))
_PARTS = re.compile(r"\s*(?:;|\bAND\b)\s*")
_CHOICE = re.compile(r"\s*\bOR\b\s*")


def problems() -> list[str]:
    """Return the packages of the images without an allowed licence."""
    names = resolve(requirement for file in FILES for requirement in read_inputs(file))
    columns = ("--format=json", "--from=mixed", "--with-system")
    rows = json.loads(read_output("pip-licenses", *columns, "--packages", *names))
    return problems_of({row["Name"]: row["License"] for row in rows}, names)


def problems_of(licences: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return the problems of `licences` by package; each of `names` must be among them."""
    known = {normalize(name) for name in licences}
    problems = [f"{name}: its licence is unknown" for name in names if name not in known]
    for name, text in licences.items():
        if not _is_allowed(text):
            problems.append(f"{name}: the licence {text.strip()[:80]!r} is not allowed")
    return problems


def resolve(requirements: Iterable[Requirement]) -> list[str]:
    """Return the normalized names of the packages of these requirements, dependencies too.

    Raises: `ToolError` for a package not installed here, because a skipped check is no pass.
    """
    todo = list(requirements)
    seen: dict[tuple[str, frozenset[str]], Distribution] = {}
    while todo:
        requirement = todo.pop()
        key = (normalize(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        try:
            seen[key] = distribution(requirement.name)
        except PackageNotFoundError as error:
            raise ToolError(
                f"{requirement.name} is not installed. `make check-infra` installs it."
            ) from error
        for line in seen[key].requires or ():
            dependency = Requirement(line)
            extras, marker = requirement.extras or {""}, dependency.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(dependency)
    return sorted({name for name, _ in seen})


def _is_allowed(text: str) -> bool:
    """Tell whether every part of an AND, and one of an OR, is allowed."""
    parts = _PARTS.split(text.strip().strip("()"))
    return all(any(_ALLOWED.fullmatch(one) for one in _CHOICE.split(part)) for part in parts)
