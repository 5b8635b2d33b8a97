"""Check that lower bounds of pyproject.toml are installed: `python -m infra.lock.bounds EXTRA...`.

Run it in an environment of `uv pip install --resolution lowest-direct`, with the names of extras,
or "core" for the core dependencies. A bound is untested if another package needs a newer version
there. torch is left out: its version is chosen apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement
from packaging.version import Version

from infra.lock.files import read_project

CORE = "core"


def find_untested(extras: Iterable[str]) -> Iterator[str]:
    """Yield each requirement without its lower bound installed, and the installed version."""
    project = read_project()
    groups = {CORE: project["dependencies"], **project["optional-dependencies"]}
    for extra in extras:
        for line in groups[extra]:
            requirement = Requirement(line)
            if requirement.name not in ("torch", project["name"]):
                yield from _check(requirement)


def is_lowest(installed: str, bound: str) -> bool:
    """Return whether a version is the bound, or the first release of a bound such as 3.6.

    Not every project has released 3.6 or 3.6.0.
    """
    parts = Version(bound).release
    return Version(installed).release[: len(parts)] == parts


def _check(requirement: Requirement) -> Iterator[str]:
    bounds = [each.version for each in requirement.specifier if each.operator == ">="]
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        yield f"{requirement}: not installed"
        return
    if not bounds:
        yield f"{requirement}: has no lower bound"
    elif not is_lowest(installed, bounds[0]):
        yield f"{requirement}: {installed} is installed. Raise the bound to a tested version."


def main(extras: list[str]) -> int:
    """Print the untested bounds and return the exit status."""
    untested = list(find_untested(extras))
    sys.stderr.writelines(f"{line}\n" for line in untested)
    return 1 if untested else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
