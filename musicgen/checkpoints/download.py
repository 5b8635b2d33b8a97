"""Download of a packed file, or of a checkpoint in an archive, into the weights folder.

The folder may be a volume shared by several machines. A packed file appears under its name only
after a comparison of every byte with its manifest. A lock makes a second worker wait for the first
instead of downloading too. An archive has no manifest: it is unpacked completely or not at all, and
then deleted.

An address may end in `#sha256=HEX`, the hash of the whole file. This pin detects a replaced file,
even one with a valid manifest.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from musicgen.checkpoints.address import is_address
from musicgen.checkpoints.archives import find_checkpoint, is_archive, unpack_checkpoint
from musicgen.checkpoints.locking import lock_of, translate_disk_errors
from musicgen.checkpoints.packed.format import SUFFIX, check_hashes, read_header
from musicgen.checkpoints.remote_file import open_remote_file
from musicgen.errors import CheckpointCorrupt, CheckpointNotFound, DiskFull
from musicgen.settings import BucketSettings, Settings

_PIN = re.compile(r"sha256=[0-9a-fA-F]{64}")
_ARCHIVE_SUFFIX = re.compile(r"\.(zip|tar|tgz|tar\.(gz|bz2|xz))$", re.IGNORECASE)
_PIECE = 2**20
_ADVICE = "set MUSICGEN_WEIGHTS_DIR to a writable folder with enough room"

logger = logging.getLogger(__name__)


def fetch(address: str, settings: Settings) -> Path:
    """Return the local packed file or unpacked folder of a URL or a local archive.

    A URL is downloaded to the weights folder unless its file is already there.

    Raises: `CheckpointNotFound`, `DiskFull`, `NotWritable`, and the errors of `archives.unpack`.
    """
    if not is_address(address):
        return _unpack_local(Path(address), settings)
    url, _, pin = address.partition("#")
    label = url.partition("?")[0]
    if pin and not _PIN.fullmatch(pin):
        raise CheckpointNotFound(f"{label}: #{pin} is not #sha256= and 64 hexadecimal digits")
    target = _find_target(address, settings)
    folder, unpacked = target.parent, _folder_beside(target)
    with translate_disk_errors(folder, _ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
        if not (target.exists() or unpacked.exists()):
            with lock_of(target):
                if not (target.exists() or unpacked.exists()):
                    _download(url, pin, target, settings.bucket)
    if unpacked.exists():
        return find_checkpoint(unpacked)
    read_header(target)
    return target


def find_fetched(address: str, settings: Settings) -> Path | None:
    """Return the result of an earlier `fetch` of this URL or archive, or None.

    Raises: the errors of `find_checkpoint`.
    """
    target = _find_target(address, settings)
    unpacked = _folder_beside(target)
    if unpacked.is_dir():
        return find_checkpoint(unpacked)
    return target if target.is_file() else None


def main() -> None:
    """Fetch MUSICGEN_MODEL in a process of its own; the loading process reports errors."""
    settings = Settings.from_env()
    fetch(settings.model, settings)


def _unpack_local(archive: Path, settings: Settings) -> Path:
    """Unpack a local archive once; an archive with another time or size is unpacked again."""
    target = _find_target(str(archive), settings)
    folder = target.parent
    with translate_disk_errors(folder, _ADVICE):
        folder.mkdir(parents=True, exist_ok=True)
        with lock_of(target):
            return unpack_checkpoint(archive, target)


def _download(url: str, pin: str, target: Path, bucket: BucketSettings) -> None:
    start, label = time.perf_counter(), url.partition("?")[0]
    with open_remote_file(url, label, bucket) as remote:
        free = shutil.disk_usage(target.parent).free
        if remote.size > free:
            raise DiskFull(
                f"{label} has {remote.size / 1e9:.2f} GB, but {target.parent} has only "
                f"{free / 1e9:.2f} GB free: free some space, or set MUSICGEN_WEIGHTS_DIR"
            )
        partial = target.with_name(f".{target.name}.partial")
        try:
            with partial.open("wb") as file:
                remote.save(file)
                file.flush()
                os.fsync(file.fileno())
            if pin:
                _check_pin(partial, pin, label)
            if is_archive(partial):
                unpack_checkpoint(partial, _folder_beside(target))
            else:
                check_hashes(partial)
                partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
    seconds = time.perf_counter() - start
    logger.info("downloaded %s: %.2f GB in %.1f s", label, remote.size / 1e9, seconds)


def _find_target(address: str, settings: Settings) -> Path:
    """Return the place of a URL's file, or of a local archive's folder, in the weights folder."""
    folder = settings.weights_dir.expanduser()
    if is_address(address):
        url, _, pin = address.partition("#")
        label = url.partition("?")[0]
        return folder / _build_name(label, f"{label}#{pin}", SUFFIX)
    archive = Path(address)
    status = archive.stat()
    identity = f"{archive.resolve()} {status.st_mtime_ns} {status.st_size}"
    return folder / _build_name(archive.name, identity)


def _build_name(label: str, identity: str, suffix: str = "") -> str:
    """Return a local file name: the readable part of the address, and a hash of `identity`."""
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    last = PurePosixPath(unquote(urlsplit(label).path)).name.removesuffix(SUFFIX)
    last = _ARCHIVE_SUFFIX.sub("", last)
    safe = "".join(c for c in last if c.isascii() and (c.isalnum() or c in "-_."))
    return f"{safe.strip('.')[:80] or 'weights'}-{digest}{suffix}"


def _folder_beside(target: Path) -> Path:
    """Return the folder for an unpacked archive that was downloaded as `target`."""
    return target.with_name(target.name.removesuffix(SUFFIX))


def _check_pin(path: Path, pin: str, label: str) -> None:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    if pin.partition("=")[2].lower() != digest.hexdigest():
        raise CheckpointCorrupt(
            f"{label} has sha256 {digest.hexdigest()}, but MUSICGEN_MODEL names another. If the "
            "model was not packed again, check who can write there."
        )
