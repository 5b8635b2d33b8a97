"""Folder in which Cog's server makes folders of its own for each prediction.

Cog makes them outside the worker and ignores TMPDIR. Where it cannot, the prediction fails and its
slot is lost: every later call is answered with 409.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

from musicgen.errors import NotWritable

COG_FOLDER = Path("/tmp/coglet/predictions")
KEPT_SECONDS = 86_400.0
"""Age at which a prediction's folder is surely out of use."""


def check_cog_folder() -> None:
    """Make and delete a folder where Cog makes its own. Raises: `NotWritable` with the remedy."""
    try:
        COG_FOLDER.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix="check-", dir=COG_FOLDER)).rmdir()
    except OSError as error:
        raise NotWritable(
            f"Cog makes folders in {COG_FOLDER} for each prediction, and cannot "
            f"({error.strerror or error}). TMPDIR does not move it. Mount a writable folder there, "
            "for example with `docker run --tmpfs /tmp`."
        ) from error


def is_cog_folder_writable() -> bool:
    """Return whether Cog can begin another prediction."""
    try:
        check_cog_folder()
    except NotWritable:
        return False
    return True


def delete_old_folders(before: float, folder: Path = COG_FOLDER) -> None:
    """Delete the folders of predictions that began before `before`, in seconds since 1970.

    Cog never deletes them: three for each prediction, empty without files in its input. A folder
    with files stays.
    """
    with suppress(OSError):
        old = [each for each in folder.iterdir() if each.stat().st_mtime < before]
        for each in old:
            for part in (each / "inputs", each / "outputs", each):
                with suppress(OSError):
                    part.rmdir()
