"""Forms of a model's name: URL, archive, hub name. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

from musicgen.checkpoints.packed.format import SUFFIX

_SCHEMES = ("https://", "http://", "s3://")
_HUB_NAME = re.compile(r"(?!.*(--|\.\.))\w[\w.-]*(?<![.-])/\w[\w.-]{,95}(?<![.-])", re.ASCII)
_FILE_ENDINGS = (
    *(SUFFIX, ".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz"),
    *(".safetensors", ".bin", ".th", ".onnx", ".git"),
)


def is_address(model: str) -> bool:
    """Return whether `model` is a URL to download from."""
    return model.startswith(_SCHEMES)


def is_hub_name(name: str) -> bool:
    """Return whether `name` has the form OWNER/NAME of the hub, and not that of a path or file."""
    return _HUB_NAME.fullmatch(name) is not None and not name.lower().endswith(_FILE_ENDINGS)


def describe_absence(name: str) -> str:
    """Return a phrase for a hub name that may be meant as a path here, else an empty text.

    Its first part is then a folder here: `runs/tuned` beside `runs`.
    """
    owner = name.partition("/")[0]
    is_doubtful = Path(owner).is_dir() and not Path(name).exists()
    return f"the folder {owner} here has no {name.partition('/')[2]}, " if is_doubtful else ""


def is_to_be_fetched(model: str) -> bool:
    """Return whether `model` is a URL, or a local archive to unpack first."""
    if is_address(model) or not Path(model).is_file() or model.endswith(SUFFIX):
        return is_address(model)
    # Imported late: it brings six compression modules, needed only here.
    from musicgen.checkpoints.archives import is_archive

    return is_archive(Path(model))
