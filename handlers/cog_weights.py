"""COG_WEIGHTS: the trained weights that a deployment is started with, as a model to load."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from musicgen.checkpoints.archives import checkpoint_in, unpack
from musicgen.errors import CheckpointNotFound, InputAudioTooLarge, InvalidRequest
from musicgen.net.fetch import DownloadLimits, download

LIMITS = DownloadLimits(bytes=20_000_000_000, seconds=1800.0)
_UNNAMED = "weights"


def model_in(weights: str, folder: Path, networks: tuple[str, ...] = ()) -> str:
    """What to load for `weights`, as `musicgen.checkpoints.locate.locate` takes it.

    An http(s) URL or a local file is a tar or zip of a checkpoint, unpacked into `folder`, where
    it has to stay while the predictor lives. A folder, a name of the catalog and a hub's
    OWNER/NAME are returned as they are.

    Raises: a `CheckpointError`.
    """
    if weights.lower().startswith(("http://", "https://")):
        archive = folder / "fetched" / _name_of(weights)
        archive.parent.mkdir(parents=True)
        _fetch(weights, archive, networks)
        try:
            return _unpacked(archive, folder)
        finally:
            archive.unlink()
    path = Path(weights)
    if path.is_file():
        return _unpacked(path, folder)
    if path.is_absolute() and not path.exists():
        raise CheckpointNotFound(f"COG_WEIGHTS names {weights}, which is not there")
    # An absolute path, because callers are shown only the last part of one.
    return str(path.resolve()) if path.is_dir() else weights


def _unpacked(archive: Path, folder: Path) -> str:
    name = archive.name.partition(".")[0] or _UNNAMED
    target = folder / "unpacked" / name
    unpack(archive, target)
    return str(checkpoint_in(target).resolve())


def _fetch(url: str, target: Path, networks: tuple[str, ...]) -> None:
    try:
        download(url, target, LIMITS, networks)
    except InvalidRequest as error:
        why = error.problem
        if isinstance(error, InputAudioTooLarge):
            why = f"more than {LIMITS.bytes / 1e9:g} GB"
        # A signed URL is a secret, and whoever sees the page of the model sees these logs.
        shown = url.partition("?")[0]
        raise CheckpointNotFound(f"COG_WEIGHTS could not be fetched from {shown}: {why}") from None


def _name_of(url: str) -> str:
    """The file's name in an address, made harmless."""
    last = PurePosixPath(urlsplit(url).path).name
    kept = "".join(each for each in last if each.isascii() and (each.isalnum() or each in "-_."))
    return kept.strip(".")[:80] or _UNNAMED
