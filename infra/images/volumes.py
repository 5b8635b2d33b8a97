"""Volumes and temporary file systems of a service, by Docker's rules."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from infra.images.build import Image
from infra.images.places import run

Mount = dict[str, Any]


@dataclass
class Volumes:
    """Named and anonymous volumes below `folder`; files of the host are relative to `files`."""

    folder: Path
    files: Path

    def mount_all(self, name: str, image: Image, definition: Mapping[str, Any]) -> list[Mount]:
        """Return the mounts of a service, outer folders first.

        A volume of the image without a mount of the service is an anonymous volume.
        """
        mounts = [self._mount(text, image) for text in definition.get("volumes", ())]
        used = {mount["destination"] for mount in mounts}
        for place in image.config.get("Volumes") or {}:
            if place not in used:
                source = self._fill(self._anonymous(name, place), image, place)
                mounts.append(_bind(source, place, "rw"))
        mounts += [_mount_tmpfs(text) for text in definition.get("tmpfs", ())]
        return sorted(mounts, key=lambda m: PurePosixPath(m["destination"]).parts)

    def drop_anonymous(self, name: str) -> None:
        """Empty the anonymous volumes of a service, as a new container has new ones."""
        for volume in (self.folder / "anonymous" / name).glob("*"):
            for item in volume.iterdir():
                shutil.rmtree(item) if item.is_dir() else item.unlink()

    def _anonymous(self, name: str, place: str) -> Path:
        return self.folder / "anonymous" / name / place.strip("/").replace("/", "-")

    def _mount(self, text: str, image: Image) -> Mount:
        source, place, mode = (*text.split(":"), "rw")[:3]
        if source.startswith(("/", ".")):
            return _bind((self.files / source).resolve(), place, mode)
        return _bind(self._fill(self.folder / source, image, place), place, mode)

    def _fill(self, volume: Path, image: Image, place: str) -> Path:
        """Create an empty volume with the content, owner and mode of the image's folder."""
        origin = image.root / place.strip("/")
        if volume.exists():
            return volume
        volume.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            run("cp", "--archive", origin, volume)
        else:
            volume.mkdir()
        return volume


def _bind(source: Path, place: str, mode: str) -> Mount:
    options = ["rbind", "nosuid", "nodev", mode]
    return {"destination": place, "type": "bind", "source": str(source), "options": options}


def _mount_tmpfs(text: str) -> Mount:
    place, _, options = text.partition(":")
    given = [option for option in options.split(",") if option]
    closed = ["nosuid", "nodev", "noexec", "mode=1777"]
    return {
        "destination": place,
        "type": "tmpfs",
        "source": "tmpfs",
        "options": [*closed, *given],
    }
