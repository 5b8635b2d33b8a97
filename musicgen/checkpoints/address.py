"""Model addresses: URLs and archives. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from musicgen.checkpoints.packed.format import SUFFIX

_SCHEMES = ("https://", "http://", "s3://")


def is_address(model: str) -> bool:
    """Return whether `model` is a URL to download from."""
    return model.startswith(_SCHEMES)


def is_to_be_fetched(model: str) -> bool:
    """Return whether `model` is a URL, or a local archive to unpack first."""
    if is_address(model) or not Path(model).is_file() or model.endswith(SUFFIX):
        return is_address(model)
    # Imported late: it brings six compression modules, needed only here.
    from musicgen.checkpoints.archives import is_archive

    return is_archive(Path(model))
