"""COG_WEIGHTS: the trained weights of a deployment, as a model to load."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from musicgen.checkpoints.archives import find_checkpoint, unpack
from musicgen.errors import CheckpointNotFound, InputAudioTooLarge, InvalidRequest
from musicgen.net.download_errors import DownloadLimits
from musicgen.net.fetch import download

LIMITS = DownloadLimits(bytes=20_000_000_000, seconds=1800.0)
_UNNAMED = "weights"


def obtain_model(weights: str, folder: Path, networks: tuple[str, ...] = ()) -> str:
    """Return the model of `weights`, a name or folder for `musicgen.checkpoints.locate.locate`.

    An http(s) URL or a local file is a tar or zip of a checkpoint. It is unpacked into `folder`
    and must stay there while the predictor lives. A folder, a name of the catalog and a hub's
    OWNER/NAME are returned as they are.

    Raises: a `CheckpointError`.
    """
    if weights.lower().startswith(("http://", "https://")):
        archive = folder / "fetched" / _clean_name(weights)
        archive.parent.mkdir(parents=True)
        _fetch(weights, archive, networks)
        try:
            return _unpack_checkpoint(archive, folder)
        finally:
            archive.unlink()
    path = Path(weights)
    if path.is_file():
        return _unpack_checkpoint(path, folder)
    if path.is_absolute() and not path.exists():
        raise CheckpointNotFound(
            f"COG_WEIGHTS: no such file or folder ({weights}). "
            "Give a folder, a tar or zip file, a URL or the name of a model."
        )
    # An absolute path, because callers are shown only the last part of one.
    return str(path.resolve()) if path.is_dir() else weights


def _unpack_checkpoint(archive: Path, folder: Path) -> str:
    name = archive.name.partition(".")[0] or _UNNAMED
    target = folder / "unpacked" / name
    unpack(archive, target)
    return str(find_checkpoint(target).resolve())


def _fetch(url: str, target: Path, networks: tuple[str, ...]) -> None:
    try:
        download(url, target, LIMITS, networks)
    except InvalidRequest as error:
        problem = error.problem
        if isinstance(error, InputAudioTooLarge):
            problem = f"is larger than the limit of {LIMITS.bytes / 1e9:g} GB"
        # A signed URL is a secret, and these logs are on the public page of the model.
        address = url.partition("?")[0]
        raise CheckpointNotFound(f"COG_WEIGHTS: {address} {problem}.") from None


def _clean_name(url: str) -> str:
    """Return the file name of an address, reduced to harmless characters."""
    last = PurePosixPath(urlsplit(url).path).name
    kept = "".join(c for c in last if c.isascii() and (c.isalnum() or c in "-_."))
    return kept.strip(".")[:80] or _UNNAMED
