"""This machine's configuration of pip, as a file and mounts for a build.

Builds of the Dockerfiles must find packages as this machine does. Its settings go into the build at
run time and stay out of the image.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from infra.images.places import CACHE, run

WHEELS = CACHE / "wheels"
_LISTS = ("find-links", "extra-index-url", "constraint", "trusted-host")
_LEFT_OUT = ("target", "user", "prefix", "cache-dir", "no-cache-dir", "config-file", "require-venv")


def read_settings(listing: str) -> dict[str, str]:
    """Return the settings of `pip config list`; those of the environment count most."""
    lines = re.findall(r"^(\S+?)\.([\w-]+)='(.*)'$", listing, re.MULTILINE)
    lines.sort(key=lambda line: line[0] == ":env:")
    return {name: value for _, name, value in lines if name not in _LEFT_OUT}


def find_folders(settings: dict[str, str]) -> list[Path]:
    """Return the files and folders of this machine named in the settings."""
    found: set[Path] = set()
    for value in settings.values():
        for word in value.replace("\\n", " ").split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                # The pages of an index name its files in the folder beside them.
                found.add(path.parent if word.startswith("file://") else path)
    return sorted(found)


def mount_settings() -> list[str]:
    """Write the settings with `WHEELS` as another source, and return buildah's options."""
    settings = read_settings(run(sys.executable, "-m", "pip", "config", "list"))
    folders = find_folders(settings)
    WHEELS.mkdir(parents=True, exist_ok=True)
    settings["find-links"] = f"{WHEELS} {settings.get('find-links', '')}".strip()
    lines = ["[global]"]
    for name, value in settings.items():
        words = value.replace("\\n", " ").split() if name in _LISTS else [value]
        lines += [f"{name} = {words[0]}", *(f"    {word}" for word in words[1:])]
    file = CACHE / "pip.conf"
    file.write_text("\n".join(lines) + "\n")
    mounts = [f"{file}:/etc/pip.conf:ro", *(f"{place}:{place}:ro" for place in [WHEELS, *folders])]
    return [part for mount in mounts for part in ("--volume", mount)]


def collect_wheels(*requirements: Path) -> None:
    """Download the wheels of requirement files once for all builds."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    for file in requirements:
        command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-cache-dir")
        source = f"--find-links={WHEELS}"
        run(*command, source, "--wheel-dir", WHEELS, "--requirement", file)
