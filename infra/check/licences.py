"""The licences of what the images install: permissive, or binding their own files only.

Of the versions that are installed here; an image that is built later may get others, and then the
next run of this says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from infra.check.tools import ROOT, output

LISTS = (
    "infra/docker/api-requirements.txt",
    "infra/docker/worker-requirements.txt",
    "infra/runpod/requirements.txt",
    "infra/replicate/requirements.txt",
    "infra/huggingface/requirements.txt",
)
ALLOWED = (
    r"(3-Clause )?BSD\b.*|0BSD|Apache\b.*|MIT\b.*|ISC\b.*|BSL-1\.0|Zlib|CC0-1\.0|The Unlicense.*",
    r"PSF-2\.0|Python Software Foundation\b.*|MPL-2\.0|Mozilla Public License 2\.0.*|LGPL-.*",
)
"""LGPL and MPL: their sources are unchanged, and anybody may put others in their place."""
_ALLOWED = re.compile("|".join(ALLOWED))
_PARTS = re.compile(r"\s*(?:;|\bAND\b)\s*")
_CHOICE = re.compile(r"\s*\bOR\b\s*")


def problems() -> list[str]:
    names = installed_by(LISTS)
    columns = ("--format=json", "--from=mixed", "--with-system")
    told = json.loads(output("pip-licenses", *columns, "--packages", *names))
    return problems_of({each["Name"]: each["License"] for each in told}, names)


def problems_of(licences: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """`licences` by package; `names` are those that must be among them."""
    known = {_plain(name) for name in licences}
    found = [f"{name}: its licence was not looked at" for name in names if name not in known]
    for name, text in licences.items():
        if not _is_allowed(text):
            found.append(f"{name}: {text.strip()[:80]!r} is not a licence that is allowed")
    return found


def installed_by(lists: Iterable[str]) -> list[str]:
    """All that these requirements bring, by its plain name, of what is installed here.

    Raises: RuntimeError for what is not: a check that cannot be made has not been passed.
    """
    from packaging.requirements import Requirement

    todo = [Requirement(line) for name in lists for line in _lines(name)]
    seen: dict[tuple[str, frozenset[str]], Distribution] = {}
    while todo:
        wanted = todo.pop()
        key = (_plain(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        try:
            seen[key] = distribution(wanted.name)
        except PackageNotFoundError as error:
            raise RuntimeError(f"{wanted.name} is not installed: `make check-infra`") from error
        for line in seen[key].requires or ():
            needed = Requirement(line)
            extras = wanted.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)
    return sorted({name for name, _ in seen})


def _lines(name: str) -> list[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    bare = [line.partition("#")[0].strip() for line in lines]
    return [line for line in bare if line and not line.startswith("-")]


def _is_allowed(text: str) -> bool:
    """Every part of an AND, one of an OR."""
    parts = _PARTS.split(text.strip().strip("()"))
    return all(any(_ALLOWED.fullmatch(one) for one in _CHOICE.split(part)) for part in parts)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
