"""Builds of the Dockerfiles with buildah, in storage of their own.

    python -m infra.images.build            # every image that has changed

The Dockerfiles are built unchanged, on the stand-in base of base.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from infra.images.base import make_base
from infra.images.pip_settings import collect_wheels, mount_settings
from infra.images.places import BASE, CACHE, PYTHON_TAG, ROOT, ImageError, run, show_time

STORAGE = ("--root", str(CACHE / "storage"), "--runroot", str(CACHE / "run"))
BUILDAH = ("buildah", *STORAGE, "--storage-driver", "vfs")
_BASE_FILE = """FROM scratch
ADD {tarball} /
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python3"]
"""
_TORCH = "torch-cpu-requirements.txt"
_REQUIREMENTS = (
    *("infra/docker/worker-requirements.txt", "infra/docker/processor-requirements.txt"),
    *("infra/runpod/requirements.txt", f"infra/docker/{_TORCH}"),
)
_SOURCES = (
    *("musicgen", "musicgen_client", "handlers"),
    *("infra/coldstart", "infra/docker", "infra/runpod", ".runpod"),
    *("pyproject.toml", "README.md", "LICENSE", "runpod_handler.py", "test_input.json"),
)
"""Files in the context of this project's own images."""
_STAND_INS = "infra/images/stand-ins"


@dataclass(frozen=True)
class ImageRecipe:
    """One image: its name, Dockerfile, build arguments, and the files it is built from."""

    name: str
    file: str
    arguments: Mapping[str, str] = field(default_factory=dict)
    sources: Sequence[str] = _SOURCES


RECIPES = (
    ImageRecipe("musicgen-api", "infra/docker/api.Dockerfile", {"BASE": BASE}),
    ImageRecipe(
        "musicgen-worker",
        "infra/docker/worker.Dockerfile",
        {"BASE": BASE, "FORM": "native-int8", "TORCH": _TORCH},
    ),
    ImageRecipe(
        "musicgen-processor",
        "infra/docker/processor.Dockerfile",
        # This machine's own index.
        {"BASE": BASE, "PIP_EXTRA_INDEX_URL": ""},
    ),
    ImageRecipe(
        "musicgen-model",
        "infra/docker/model.Dockerfile",
        {"BASE": BASE, "FORM": "native-int8", "TORCH": _TORCH},
    ),
    ImageRecipe("musicgen-runpod", ".runpod/Dockerfile", {"PYTHON": PYTHON_TAG, "TORCH": _TORCH}),
    *(
        ImageRecipe(name, f"{_STAND_INS}/{name}.Dockerfile", {"BASE": BASE}, [_STAND_INS])
        for name in ("postgres", "seaweedfs", "prometheus")
    ),
)


@dataclass(frozen=True)
class Image:
    """One built image: the folder with its files, its bytes, and its configuration."""

    name: str
    root: Path
    size: int
    config: Mapping[str, Any]


def build_all(recipes: Sequence[ImageRecipe] = RECIPES) -> dict[str, Image]:
    """Build the changed images and return all by name. The phases' seconds go to standard error.

    Only one process at a time builds in the storage. Raises: `ImageError`.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(CACHE / "lock"):
        return _build_changed(recipes)


def _build_changed(recipes: Sequence[ImageRecipe]) -> dict[str, Image]:
    with show_time("base"):
        tarball = make_base()
    print_of_base = tarball.stem
    if _read_print("base") != print_of_base:
        with show_time("image base"):
            _build("base", _BASE_FILE.format(tarball=tarball.name), BASE, CACHE, [])
            _write_print("base", print_of_base)
    with show_time("wheels"):
        needed = hashlib.sha256(b"".join((ROOT / f).read_bytes() for f in _REQUIREMENTS))
        if _read_print("wheels") != needed.hexdigest():
            collect_wheels(*(ROOT / file for file in _REQUIREMENTS))
            _write_print("wheels", needed.hexdigest())
    images = {}
    for recipe in recipes:
        own = f"{print_of_base} {_hash(recipe.sources)} {sorted(recipe.arguments.items())}"
        if _read_print(recipe.name) != own:
            with show_time(f"image {recipe.name}"):
                arguments = [f"--build-arg={k}={v}" for k, v in recipe.arguments.items()]
                text = (ROOT / recipe.file).read_text()
                _build(recipe.name, text, recipe.name, ROOT, [*arguments, *mount_settings()])
                _write_print(recipe.name, own)
        images[recipe.name] = open_image(recipe.name)
    return images


def open_image(name: str) -> Image:
    """Return an image of the storage, with its files mounted."""
    found = json.loads(run(*BUILDAH, "inspect", "--type", "image", f"localhost/{name}"))
    digest = found["FromImageID"]
    container = f"{name}-{digest[:12]}"
    listed = json.loads(run(*BUILDAH, "containers", "--json") or "[]") or []
    names = {each["containername"] for each in listed}
    for old in names:
        if old.startswith(f"{name}-") and old != container:
            run(*BUILDAH, "rm", old)
    if container not in names:
        run(*BUILDAH, "from", "--pull-never", "--name", container, f"localhost/{name}")
    root = Path(run(*BUILDAH, "mount", container).strip())
    return Image(name, root, _measure(root), found["Docker"]["config"])


def _build(name: str, text: str, tag: str, context: Path, options: Sequence[str]) -> None:
    log = CACHE / f"{name}.log"
    log.unlink(missing_ok=True)
    # The format of Docker has health checks; that of OCI has none.
    command = [*BUILDAH, "bud", "--isolation", "chroot", "--format", "docker", "--pull-never"]
    command += ["--layers=false", *options, "--tag", tag, "--file", "-", str(context)]
    run(*command, text=text, log=log)
    for image in json.loads(run(*BUILDAH, "images", "--json", "--filter", "dangling=true")) or []:
        try:
            run(*BUILDAH, "rmi", image["id"])
        except ImageError:
            continue  # A mounted container of an earlier build uses it.


def _measure(root: Path) -> int:
    """Return the bytes of the files, each counted once."""
    seen: dict[int, int] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        seen[status.st_ino] = 0 if path.is_dir() else status.st_size
    return sum(seen.values())


def _hash(sources: Sequence[str]) -> str:
    listing = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *sources)
    digest = hashlib.sha256()
    for name in sorted(set(listing.splitlines())):
        if (ROOT / name).is_file():
            digest.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return digest.hexdigest()


def _read_print(name: str) -> str:
    file = CACHE / f"{name}.print"
    return file.read_text() if file.is_file() else ""


def _write_print(name: str, text: str) -> None:
    (CACHE / f"{name}.print").write_text(text)


def clear() -> None:
    """Remove the images and containers of the storage; the base and the wheels stay."""
    run(*BUILDAH, "rm", "--all")
    run(*BUILDAH, "rmi", "--all", "--force")
    for file in CACHE.glob("*.print"):
        file.unlink()
    shutil.rmtree(CACHE / "storage", ignore_errors=True)


def main() -> None:
    """Build all images and write their sizes."""
    for image in build_all().values():
        sys.stdout.write(f"{image.name}: {image.size / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main()
