"""Do the requirement files fit pyproject.toml? Offline: it compares texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from infra.lock.__main__ import HEADER, render_cpu_torch
from infra.lock.files import (
    CPU_TORCH,
    CUDA_TORCH,
    FILES,
    ROOT,
    TORCH,
    LockFile,
    is_cuda,
    normalize,
    read_inputs,
    read_locked,
)

PYTHONS = ("3.11", "3.12", "3.13")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
Locked = Mapping[str, list[Requirement]]


def problems() -> list[str]:
    """Return what is wrong with the requirement files."""
    found = [problem for file in FILES for problem in check_file(file, ROOT / file.path)]
    if (ROOT / CPU_TORCH).read_text(encoding="utf-8") != render_cpu_torch():
        found.append(f"{CPU_TORCH}: differs from {CUDA_TORCH}. Run python -m infra.lock.")
    if f"TORCH ?= {TORCH}\n" not in (ROOT / "Makefile").read_text(encoding="utf-8"):
        found.append(f"Makefile: TORCH is not {TORCH}, the torch of the images.")
    return found + list(_check_agreement())


def check_file(file: LockFile, path: Path) -> list[str]:
    """Return what is wrong with the text at `path` as this requirement file."""
    text = path.read_text(encoding="utf-8")
    found = [] if text.startswith(HEADER) else ["was not written by python -m infra.lock"]
    if re.search(r"://|^\s*--(?!hash=)", text, re.MULTILINE):
        found.append("names an index or holds another option of pip")
    locked: dict[str, list[Requirement]] = {}
    for requirement, hashes in read_locked(path):
        name = normalize(requirement.name)
        locked.setdefault(name, []).append(requirement)
        if name in file.ranges:
            continue
        if [each.operator for each in requirement.specifier] != ["=="]:
            found.append(f"{name} has no exact version")
        if file.has_hashes and not (hashes and all(map(_HASH.fullmatch, hashes))):
            found.append(f"{name} has no hashes")
    if TORCH not in file.more:
        found += [f"{name} belongs to torch's own file" for name in locked if is_cuda(name)]
    found += _find_missing(read_inputs(file), locked)
    if not file.ranges:
        found += _find_missing(_list_dependencies(locked), locked)
    return [f"{file.path}: {problem}. Run python -m infra.lock." for problem in found]


def _find_missing(wanted: Iterable[Requirement], locked: Locked) -> Iterator[str]:
    """Yield the requirements that no locked version satisfies, on any supported Python."""
    for requirement in wanted:
        for python in PYTHONS:
            environment = _environment(python)
            if requirement.marker and not requirement.marker.evaluate(environment):
                continue
            known = [
                each.specifier
                for each in locked.get(normalize(requirement.name), [])
                if each.marker is None or each.marker.evaluate(environment)
            ]
            if not any(_fits(specifier, requirement.specifier) for specifier in known):
                yield f"{requirement} is missing on Python {python}"
                break


def _fits(locked: SpecifierSet, wanted: SpecifierSet) -> bool:
    """Whether one exact version satisfies a range, or a range is the same."""
    exact = str(locked).removeprefix("==")
    return locked == wanted or (exact != str(locked) and wanted.contains(exact, prereleases=True))


def _list_dependencies(locked: Locked) -> Iterator[Requirement]:
    """Yield the requirements of the locked packages that are installed here in this version."""
    for name, requirements in locked.items():
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        if not any(str(each.specifier) == f"=={installed.version}" for each in requirements):
            continue
        for line in installed.requires or ():
            dependency = Requirement(line)
            if dependency.marker is None or "extra" not in str(dependency.marker):
                yield dependency


def _environment(python: str) -> dict[str, str]:
    """Return the markers of an image: Linux on x86-64 with this Python."""
    own: dict[str, str] = {key: str(value) for key, value in default_environment().items()}
    return own | {
        "python_version": python,
        "python_full_version": f"{python}.1",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": "",
    }


def _check_agreement() -> Iterator[str]:
    """Yield packages with different versions in files that one image installs."""
    worker = "infra/docker/worker-requirements.txt"
    for first, second in (
        ("infra/docker/api-requirements.txt", worker),
        (CUDA_TORCH, worker),
        (CUDA_TORCH, "infra/runpod/requirements.txt"),
    ):
        known = {(each.name, str(each.marker)): each for each, _ in read_locked(ROOT / second)}
        for each, _ in read_locked(ROOT / first):
            other = known.get((each.name, str(each.marker)))
            if other is not None and other.specifier != each.specifier:
                yield f"{first}: {each} differs from {second}. Run python -m infra.lock."
