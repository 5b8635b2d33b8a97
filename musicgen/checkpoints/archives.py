"""Safe unpacking of a damaged or hostile archive: only plain files, only inside one folder."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from musicgen.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointIncomplete,
    UnsupportedCheckpoint,
)
from musicgen.errors.counts import format_count

UNPACKED_MAX_BYTES = 40_000_000_000
"""The largest MusicGen has 13 GB in float32, and an archive may hold it in two formats."""
FILES_MAX = 1000
"""Limit for the files, and for all entries together."""
DEPTH_MAX = 32
HEADER_MAX_BYTES = 2**20
"""Limit for the text that follows a header, such as a long name; tarfile reads it into memory."""
_BLOCK_BYTES = 2**20
_ZIP = b"PK\3\4"
_CONFIGS = ("config.json", "adapter_config.json")
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError),
    # A zip of a method or version that Python lacks; headers nested in headers.
    *(NotImplementedError, RecursionError),
)
_WITH_TEXT = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)


class _BoundedHeader(tarfile.TarInfo):
    """Header of a tar; not every patch level of Python refuses negative sizes (CVE-2025-8194)."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _BoundedHeader:
        """Parse a header. Raises: `tarfile.ReadError` for sizes no real archive has."""
        header = super().frombuf(buf, encoding, errors)
        if header.size < 0 or (header.type in _WITH_TEXT and header.size > HEADER_MAX_BYTES):
            raise tarfile.ReadError(f"a header with a size of {format_count(header.size, 'byte')}")
        return header


def unpack(archive: Path, target: Path, limit_bytes: int = UNPACKED_MAX_BYTES) -> None:
    """Unpack a tar (plain, gz, bz2, xz) or zip into `target`, a new folder.

    Modes, owners and times in the archive are ignored. On failure the folder is deleted.

    Raises: `UnsupportedCheckpoint` for another kind of file; `CheckpointCorrupt` for a damaged
    archive, or one with links, devices or names outside the folder; `CheckpointError` for more than
    `limit_bytes` or 1000 entries, or an error of the disk.
    """
    target.mkdir(parents=True)
    try:
        left = limit_bytes
        for name, source in _members(archive):
            path = target / _inside(archive, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with source, path.open("xb") as file:
                while block := source.read(_BLOCK_BYTES):
                    # Counted here, because the size in a header may be false.
                    left -= len(block)
                    if left < 0:
                        raise CheckpointError(
                            f"{archive.name} holds more than {limit_bytes / 1e9:g} GB unpacked: "
                            "leave out what is not part of the checkpoint"
                        )
                    file.write(block)
    except BaseException as error:
        shutil.rmtree(target, ignore_errors=True)
        if isinstance(error, _DAMAGED) or (
            # gzip and bz2 report damage as an OSError without errno.
            isinstance(error, OSError) and error.errno is None
        ):
            raise CheckpointCorrupt(f"{archive.name} cannot be unpacked: {error}") from error
        if isinstance(error, FileExistsError):
            raise CheckpointCorrupt(
                f"{archive.name} contains the same file name twice: pack the folder again"
            ) from error
        if isinstance(error, OSError):
            raise CheckpointError(
                f"{archive.name} cannot be unpacked: {error.strerror or error}"
            ) from error
        raise


def is_archive(path: Path) -> bool:
    """Return whether a file is a tar, compressed or not, or a zip."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if file.read(4) == _ZIP:
            return True
    try:
        with _open_tar(path):
            return True
    except tarfile.TarError:
        return False
    except _DAMAGED:
        # `unpack` names the damage.
        return True


def unpack_checkpoint(archive: Path, target: Path) -> Path:
    """Unpack `archive` into the folder `target` unless it exists; return the checkpoint's folder.

    `target` appears complete or not at all. The caller holds its lock.
    Raises: the errors of `unpack` and `find_checkpoint`.
    """
    if not target.exists():
        partial = target.with_name(f".{target.name}.partial")
        # Left by a killed process; nobody writes there now, because the caller holds the lock.
        shutil.rmtree(partial, ignore_errors=True)
        try:
            unpack(archive, partial)
            find_checkpoint(partial)
            partial.replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return find_checkpoint(target)


def find_checkpoint(folder: Path) -> Path:
    """Find the one folder, here or deeper, with a config.json or adapter_config.json.

    Raises: `CheckpointIncomplete` for none, `CheckpointError` for several.
    """
    folders = sorted({path.parent for name in _CONFIGS for path in folder.rglob(name)})
    if not folders:
        raise CheckpointIncomplete(f"the archive has no {_CONFIGS[0]}, so it holds no checkpoint")
    depth = min(len(path.parts) for path in folders)
    roots = [path for path in folders if len(path.parts) == depth]
    if len(roots) > 1:
        raise CheckpointError(
            f"the archive holds {format_count(len(roots), 'checkpoint')}, in "
            f"{', '.join(path.name for path in roots)}: keep only one"
        )
    return roots[0]


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Iterate over the names and contents of the files in an archive."""
    if zipfile.is_zipfile(archive):
        return _zip_members(archive)
    if is_archive(archive):
        return _tar_members(archive)
    raise UnsupportedCheckpoint(f"{archive.name} is neither a tar nor a zip file")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as zipped:
        for number, entry in enumerate(zipped.infolist()):
            _check_number(archive, number)
            # In archives written on Unix, the upper 16 bits are the file mode.
            kind = entry.external_attr >> 28
            if kind not in (0, 0o4, 0o10):
                raise _unsafe(archive, entry.filename)
            if entry.flag_bits & 1:
                raise CheckpointCorrupt(f"{archive.name} is encrypted: pack it without a password")
            if not entry.is_dir():
                yield entry.filename, zipped.open(entry)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with _open_tar(archive) as tape:
        last = -1
        for number, member in enumerate(tape):
            _check_number(archive, number)
            # A negative size leads back to an earlier header, again and again.
            if member.size < 0 or member.offset <= last:
                raise CheckpointCorrupt(f"{archive.name} has headers that form a circle")
            last = member.offset
            if not (member.isreg() or member.isdir()):
                raise _unsafe(archive, member.name)
            if member.isreg():
                source = tape.extractfile(member)
                assert source is not None, "a regular file has content"
                yield member.name, source


def _open_tar(path: Path) -> tarfile.TarFile:
    return tarfile.open(path, tarinfo=_BoundedHeader)


def _check_number(archive: Path, number: int) -> None:
    if number == FILES_MAX:
        raise CheckpointError(f"{archive.name} holds more than {FILES_MAX} files")


def _inside(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise _unsafe(archive, name)
    if len(path.parts) > DEPTH_MAX:
        raise CheckpointCorrupt(f"{archive.name} has folders nested deeper than {DEPTH_MAX}")
    return path


def _unsafe(archive: Path, name: str) -> CheckpointCorrupt:
    return CheckpointCorrupt(
        f"{archive.name} is refused: {name[:120]!r} is not a plain file inside it"
    )
