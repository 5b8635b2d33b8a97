"""Archives made to break the unpacking: each ends in an error of ours, in little memory."""

from __future__ import annotations

import gzip
import io
import re
import struct
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.checkpoints.archives import FILES_MAX, is_archive, unpack
from musicgen.errors import CheckpointError
from tests.support import ROOT


def _zip_with(path: Path, at: int, value: bytes) -> Path:
    """A zip whose central header and local header have `value`, `at` bytes after the signature."""
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("config.json", b"{}" * 100)
    data = bytearray(path.read_bytes())
    for signature, shift in ((b"PK\1\2", 2), (b"PK\3\4", 0)):
        start = data.index(signature) + at + shift
        data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


def _unknown_method(path: Path) -> Path:
    return _zip_with(path, 8, struct.pack("<H", 99))


def _newer_version(path: Path) -> Path:
    return _zip_with(path, 4, struct.pack("<H", 255))


def _deep_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("a/" * 3000 + "config.json", b"{}")
    return path


def _header(kind: bytes, size: int, name: str = "x") -> bytes:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT)


def _many_names(path: Path) -> Path:
    """A long name for a long name, and so on."""
    block = _header(tarfile.GNUTYPE_LONGNAME, 2) + b"a\0".ljust(512, b"\0")
    path.write_bytes(block * 5000 + _header(tarfile.REGTYPE, 0) + bytes(1024))
    return path


def _long_name(path: Path) -> Path:
    """2 GB of a name, in 2 MB."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(_header(tarfile.GNUTYPE_LONGNAME, 2**31))
        for _ in range(2**7):
            file.write(b"a" * 2**20)
    return path


def _negative_size(path: Path) -> Path:
    path.write_bytes(
        _header(tarfile.REGTYPE, 0, "config.json") + _header(tarfile.REGTYPE, -512) + bytes(1024)
    )
    return path


def _negative_pax_size(path: Path) -> Path:
    text = b"14 size=-1024\n"
    path.write_bytes(
        _header(tarfile.REGTYPE, 0, "config.json")
        + _header(tarfile.XHDTYPE, len(text)) + text.ljust(512, b"\0")
        + _header(tarfile.REGTYPE, 0) + bytes(1024)
    )  # fmt: skip
    return path


def _many_folders(path: Path) -> Path:
    with tarfile.open(path, "w") as tape:
        for number in range(FILES_MAX + 1):
            member = tarfile.TarInfo(f"folder{number}")
            member.type = tarfile.DIRTYPE
            tape.addfile(member)
    return path


def _deep_tar(path: Path) -> Path:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tape:
        member = tarfile.TarInfo("a/" * 1500 + "config.json")
        tape.addfile(member, io.BytesIO())
    return path


KINDS: list[tuple[Callable[[Path], Path], str]] = [
    (_unknown_method, "compression"),
    (_newer_version, "version"),
    (_deep_zip, "deeper than 32"),
    (_deep_tar, "deeper than 32"),
    (_many_names, "recursion"),
    (_long_name, "neither a tar nor a zip"),
    (_negative_size, "negative|header|circle"),
    (_negative_pax_size, "negative|header|circle"),
    (_many_folders, "more than 1000 files"),
]
WATCHED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from musicgen.checkpoints.archives import is_archive, unpack
from musicgen.errors import CheckpointError
archive = Path(sys.argv[1])
is_archive(archive)
try:
    unpack(archive, Path(sys.argv[2]))
except CheckpointError as error:
    print(error)
"""


@pytest.mark.parametrize(("make", "reason"), KINDS, ids=[make.__name__ for make, _ in KINDS])
def test_a_hostile_archive_is_refused_with_an_error_of_ours(
    tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    """NotImplementedError, RecursionError, an endless loop or all of the memory."""
    archive, target = make(tmp_path / "archive"), tmp_path / "out"
    command = [sys.executable, "-c", textwrap.dedent(WATCHED), str(archive), str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    assert re.search(reason, done.stdout), done.stdout
    assert not target.exists()


def test_an_archive_may_have_folders_beside_its_files(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    with tarfile.open(path, "w:gz") as tape:
        folder = tarfile.TarInfo("model")
        folder.type = tarfile.DIRTYPE
        tape.addfile(folder)
        member = tarfile.TarInfo("model/" + "n" * 120 + "/config.json")
        member.size = 2
        tape.addfile(member, io.BytesIO(b"{}"))
    assert is_archive(path)
    unpack(path, tmp_path / "out")
    assert [file.read_bytes() for file in (tmp_path / "out").rglob("*.json")] == [b"{}"]


def test_no_archive_is_unpacked_by_the_library_itself() -> None:
    """Its filters had faults in many patch levels of Python; our checks need none of them."""
    for folder in ("musicgen", "handlers", "infra", "training"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not re.search(r"\.extractall\(|unpack_archive\(", path.read_text()), path


def test_damage_is_told_apart_from_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no archive")
    assert not is_archive(tmp_path / "text")
    with pytest.raises(CheckpointError, match="neither a tar nor a zip"):
        unpack(tmp_path / "text", tmp_path / "out")
