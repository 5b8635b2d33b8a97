"""Files and folders named on the command line, checked before any work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from musicgen.errors import InvalidInputAudio, InvalidRequest


def check_output(option: str, path: Path, endings: tuple[str, ...] = ()) -> None:
    """Refuse a path that no file can be written to, before any work. Raises: `InvalidRequest`."""
    if str(path) == "-":
        raise InvalidRequest(option, "must be a file: standard output has the messages", value=path)
    if endings and path.suffix.lower() not in endings:
        raise InvalidRequest(option, f"must end in {' or '.join(endings)}", value=path.name)
    with _name_refusal(option, path, "written"):
        if not path.name or (path.exists() and not path.is_file()):
            raise InvalidRequest(option, "must be a file, not a folder or a device", value=path)
        if not _is_open(path.absolute().parent):
            raise InvalidRequest(option, "must be in a folder that you may write to", value=path)


def check_folder(option: str, folder: Path) -> None:
    """Refuse a folder that no file can be written to, before any work. Raises: `InvalidRequest`."""
    with _name_refusal(option, folder, "written"):
        if not _is_open(folder.absolute()):
            problem = "must be a folder that you may write to, or a new one"
            raise InvalidRequest(option, problem, value=folder)


def _is_open(folder: Path) -> bool:
    """Return whether files can be made in a folder, or in the nearest one above a missing one."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


@contextmanager
def _name_refusal(option: str, path: Path, verb: str) -> Iterator[None]:
    """Turn an OSError about `path` into the error of its option."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be {verb}: {error.strerror}"
        raise InvalidRequest(option, problem, value=path) from error


def check_input_file(option: str, path: Path) -> None:
    """Refuse a file that cannot be read, before any work. Raises: `InvalidRequest`."""
    with _name_refusal(option, path, "read"):
        if not path.is_file():
            raise InvalidRequest(option, "is not an existing file", value=path)
        with path.open("rb"):
            pass


def check_input_audio(path: Path) -> None:
    """Refuse a file that cannot be read. Raises: `InvalidRequest`."""
    with _name_refusal("input_audio", path, "read"):
        if not path.is_file():
            raise InvalidInputAudio("input_audio", "is not a file", value=path)
        with path.open("rb"):
            pass
