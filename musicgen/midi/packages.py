"""Packages of the transcription, looked for without importing them; names of its files."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from musicgen.errors import MissingDependency

EXTENSION, CONTENT_TYPE = "mid", "audio/midi"
PART = "midi"
"""Name of the notes among the parts of a clip; the other names are those of stems."""
_MODULES = ("onnxruntime", "mido")
_MODEL_PACKAGE = "basic-pitch"
_MODEL_FILE = Path("saved_models", "icassp_2022", "nmp.onnx")
_HOW_TO_GET_THE_MODEL = (
    "Then run pip install --no-deps 'basic-pitch==0.4.0': only its model file is used, and its "
    "dependencies (TensorFlow) are not needed."
)


def find_missing() -> MissingDependency | None:
    """Return the error for the first missing package, or None where MIDI can be made."""
    missing = _find_missing_package()
    if missing is None:
        return None
    return MissingDependency(missing, "MIDI", "midi", _HOW_TO_GET_THE_MODEL)


def check_installed() -> None:
    """Refuse where a package is missing.

    Raises: `MissingDependency`, with the commands to run.
    """
    error = find_missing()
    if error is not None:
        raise error


@cache
def _find_missing_package() -> str | None:
    missing = next((name for name in _MODULES if find_spec(name) is None), None)
    return missing if missing or find_model() else _MODEL_PACKAGE


def find_model() -> Path | None:
    """Return the model file in the package basic-pitch, if that is installed."""
    spec = find_spec("basic_pitch")
    folders = spec.submodule_search_locations if spec is not None else None
    paths = (Path(folder, _MODEL_FILE) for folder in folders or ())
    return next((path for path in paths if path.is_file()), None)
