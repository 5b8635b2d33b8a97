"""Model addresses: a model may be named by a URL or by an archive. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from musicgen.checkpoints.packed.format import SUFFIX

_SCHEMES = ("https://", "http://", "s3://")


def is_address(model: str) -> bool:
    """Whether `model` is a URL to download from."""
    return model.startswith(_SCHEMES)


def is_to_be_fetched(model: str) -> bool:
    """Whether `model` is a URL, or a local archive to unpack first."""
    if is_address(model) or not Path(model).is_file() or model.endswith(SUFFIX):
        return is_address(model)
    # Half a dozen modules of compression; no other start needs them.
    from musicgen.checkpoints.archives import is_archive

    return is_archive(Path(model))
