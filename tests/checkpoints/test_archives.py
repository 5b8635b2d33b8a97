"""Archives that are what they say, and those that want out of their folder."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from musicgen.checkpoints import archives
from musicgen.checkpoints.archives import find_checkpoint, unpack
from musicgen.errors import (
    CheckpointCorrupt,
    CheckpointError,
    CheckpointIncomplete,
    UnsupportedCheckpoint,
)

FILES = {"config.json": b"{}", "deeper/model.safetensors": b"x" * 100_000}


def _tar(path: Path, mode: str = "w", files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(path, mode) as tape:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tape.addfile(member, io.BytesIO(content))
    return path


def _tar_with(path: Path, **attributes: object) -> Path:
    member = tarfile.TarInfo("extra")
    for name, value in attributes.items():
        setattr(member, name, value)
    with tarfile.open(_tar(path), "a") as tape:
        tape.addfile(member)
    return path


def _zip(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in files.items():
            zipped.writestr(name, content)
    return path


def _zipped_link(path: Path) -> Path:
    entry = zipfile.ZipInfo("link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr(entry, "/etc/passwd")
    return path


def _contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "pack",
    [
        _tar,
        lambda path: _tar(path, "w:gz"),
        lambda path: _tar(path, "w:bz2"),
        lambda path: _tar(path, "w:xz"),
        _zip,
    ],
)
def test_every_kind_is_unpacked_whatever_its_name(
    tmp_path: Path, pack: Callable[[Path], Path]
) -> None:
    unpack(pack(tmp_path / "weights"), tmp_path / "out")
    assert _contents(tmp_path / "out") == FILES


def test_folders_that_are_listed_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "model" / "empty").mkdir(parents=True)
    (tmp_path / "model" / "config.json").write_bytes(b"{}")
    with tarfile.open(tmp_path / "a.tar", "w") as tape:
        tape.add(tmp_path / "model", "model")
    unpack(tmp_path / "a.tar", tmp_path / "out")
    assert find_checkpoint(tmp_path / "out") == tmp_path / "out" / "model"


@pytest.mark.parametrize("name", ["../escaped", "/escaped", "a/../../escaped", "a\\..\\escaped"])
@pytest.mark.parametrize("pack", [lambda path, files: _tar(path, "w", files), _zip])
def test_a_name_that_leads_out_is_refused_and_nothing_is_left(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path], name: str
) -> None:
    archive = pack(tmp_path / "a", FILES | {name: b"x"})
    with pytest.raises(CheckpointCorrupt, match="not a plain file inside it"):
        unpack(archive, tmp_path / "in" / "out")
    assert not list(tmp_path.rglob("*escaped*"))
    assert not (tmp_path / "in" / "out").exists()


@pytest.mark.parametrize(
    "attributes",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc"},
        {"type": tarfile.LNKTYPE, "linkname": "config.json"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.FIFOTYPE},
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, attributes: dict[str, object]) -> None:
    """Guards a link to a folder elsewhere that a later name is then written through."""
    with pytest.raises(CheckpointCorrupt, match="'extra' is not a plain file"):
        unpack(_tar_with(tmp_path / "a", **attributes), tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointCorrupt, match="'link' is not a plain file"):
        unpack(_zipped_link(tmp_path / "a"), tmp_path / "out")


@pytest.mark.parametrize("pack", [_zip, lambda path, files: _tar(path, "w:gz", files)])
def test_a_bomb_stops_at_the_limit(
    tmp_path: Path, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    archive = pack(tmp_path / "a", {"zeros": bytes(5_000_000)})
    assert archive.stat().st_size < 100_000
    unpack(archive, tmp_path / "fits", limit_bytes=5_000_000)
    with pytest.raises(CheckpointError, match=r"more than 0\.005 GB unpacked"):
        unpack(archive, tmp_path / "out", limit_bytes=4_999_999)
    assert not (tmp_path / "out").exists()


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FILES_MAX", 3)
    three = {str(number): b"x" for number in range(3)}
    unpack(_zip(tmp_path / "three", three), tmp_path / "fits")
    with pytest.raises(CheckpointError, match="more than 3 files"):
        unpack(_zip(tmp_path / "four", three | {"4": b"x"}), tmp_path / "out")


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    with tarfile.open(_tar(tmp_path / "a"), "a") as tape:
        tape.addfile(tarfile.TarInfo("config.json"), io.BytesIO())
    with pytest.raises(CheckpointCorrupt, match="same file name twice"):
        unpack(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize(
    "pack", [lambda path: _tar(path, "w:gz"), lambda path: _tar(path, "w:xz"), _tar]
)
def test_an_archive_that_is_cut_off_is_refused(
    tmp_path: Path, pack: Callable[[Path], Path]
) -> None:
    archive = pack(tmp_path / "a")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(CheckpointCorrupt):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_zip_is_refused(tmp_path: Path) -> None:
    archive = _zip(tmp_path / "a", {"noise": bytes(range(256)) * 100})
    data = bytearray(archive.read_bytes())
    data[60] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(CheckpointCorrupt):
        unpack(archive, tmp_path / "out")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"model.safetensors")
    with pytest.raises(UnsupportedCheckpoint, match="neither a tar nor a zip"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_checkpoint_is_found_where_it_is_alone(tmp_path: Path) -> None:
    with pytest.raises(CheckpointIncomplete):
        find_checkpoint(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    with pytest.raises(CheckpointError, match="2 checkpoints, in a, b"):
        find_checkpoint(tmp_path)
    (tmp_path / "config.json").touch()
    assert find_checkpoint(tmp_path) == tmp_path
