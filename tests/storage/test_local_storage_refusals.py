"""What a folder cannot store is refused, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicgen.errors import DiskFull, NotWritable, StorageError
from musicgen.storage import local
from musicgen.storage.base import ClipName
from musicgen.storage.local import RESERVE_BYTES, LocalStorage
from tests.support.disks import (
    CLIP,
    in_child,
    limit_file_size,
    only_without_rights,
    tree,
    under,
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let root mount")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_told_and_left_as_it_was(small_disk: Path) -> None:
    storage = LocalStorage(small_disk)
    kept = storage.put(ClipName("kept", 0, 1, "wav"), [b"k" * 400_000], "audio/wav", {})
    before = tree(small_disk)
    with pytest.raises(DiskFull, match="No space left on device"):
        storage.put(CLIP, [b"x" * 2**20], "audio/wav", {})
    assert tree(small_disk) == before
    assert Path(kept).read_bytes() == b"k" * 400_000
    storage.put(CLIP, [b"x" * 400_000], "audio/wav", {})


def test_a_small_disk_is_refused_before_anything_is_written(small_disk: Path) -> None:
    with pytest.raises(DiskFull, match=r"MB free, but needs 16\.\d MB"):
        LocalStorage(small_disk).prepare(1000)
    assert tree(small_disk) == []


def test_a_disk_without_room_even_for_a_probe_is_full(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(2**21))
    with pytest.raises(DiskFull):
        LocalStorage(small_disk / "new" / "folder").prepare(0)
    assert tree(small_disk) == ["ballast"]


def test_a_limit_of_the_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """The operating system itself refuses the 100001st byte, in a process of its own."""

    def action() -> None:
        with pytest.raises(DiskFull, match="File too large"):
            LocalStorage(tmp_path / "out").put(CLIP, [b"x" * 200_000], "audio/wav", {})

    in_child(action, before=limit_file_size)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("free", [0, RESERVE_BYTES + 999])
def test_expected_clips_and_the_reserve_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage._replace(free=free))
    with pytest.raises(DiskFull, match="Free some space"):
        LocalStorage(tmp_path).prepare(1000)
    assert tree(tmp_path) == []


def test_exactly_enough_room_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    enough = usage._replace(free=RESERVE_BYTES + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: enough)
    LocalStorage(tmp_path).prepare(1000)


def test_a_mount_that_reports_no_size_is_not_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = shutil.disk_usage(tmp_path)._replace(total=0, used=0, free=0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: nothing)
    LocalStorage(tmp_path).prepare(10**12)


def test_preparing_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    LocalStorage(tmp_path / "a" / "b").prepare(1000)
    assert tree(tmp_path) == ["a", "a/b"]


@pytest.mark.parametrize("name", ["closed", "closed/new"])
def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path, name: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o555)
    storage = LocalStorage(tmp_path / name)

    def action() -> None:
        with pytest.raises(NotWritable, match="Permission denied"):
            storage.prepare(1000)
        with pytest.raises(NotWritable, match="the right to write"):
            storage.put(CLIP, [b"music"], "audio/wav", {})

    try:
        only_without_rights(action, tmp_path)
        assert tree(tmp_path) == ["closed"]
    finally:
        closed.chmod(0o755)


def test_a_folder_that_cannot_be_entered_is_refused(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0)
    storage = LocalStorage(closed / "out")

    def action() -> None:
        with pytest.raises(NotWritable, match="Permission denied"):
            storage.prepare(1000)
        with pytest.raises(NotWritable, match="Permission denied"):
            storage.put(CLIP, [b"music"], "audio/wav", {})
        with pytest.raises(NotWritable, match="Permission denied"):
            storage.remove(str(closed / "out" / "clip.wav"))

    try:
        only_without_rights(action, tmp_path)
    finally:
        closed.chmod(0o755)


@pytest.mark.parametrize("name", ["file", "file/deeper"])
def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    storage = LocalStorage(tmp_path / name)
    with pytest.raises(NotWritable):
        storage.prepare(1000)
    with pytest.raises(NotWritable):
        storage.put(CLIP, [b"music"], "audio/wav", {})
    assert (tmp_path / "file").read_bytes() == b"kept"
    assert tree(tmp_path) == ["file"]


def test_a_clip_whose_name_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").mkdir()
    with pytest.raises(NotWritable):
        LocalStorage(tmp_path, under("clip.wav")).put(CLIP, [b"music"], "audio/wav", {})
    assert tree(tmp_path) == ["clip.wav"]


@pytest.mark.parametrize(
    "key",
    ["../clip.wav", "a/../../clip.wav", "/etc/clip.wav", "", "a//b", "./clip.wav", "..", "a\0b"],
)
def test_a_key_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    """A peer wrote to whatever file name the request held."""
    with pytest.raises(StorageError, match="not the name of a file inside"):
        LocalStorage(tmp_path / "out", under(key)).put(CLIP, [b"music"], "audio/wav", {})
    assert tree(tmp_path) == []


def test_a_job_named_like_a_path_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        LocalStorage(tmp_path).put(ClipName("../..", 0, 1, "wav"), [b"music"], "audio/wav", {})
    assert tree(tmp_path) == []


def test_a_name_too_long_for_the_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        LocalStorage(tmp_path).put(ClipName("j" * 300, 0, 1, "wav"), [b"music"], "audio/wav", {})
    assert tree(tmp_path) == []


def test_an_error_names_the_folder_and_keeps_its_cause(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotWritable, match=re.escape(str(tmp_path / "file"))) as caught:
        LocalStorage(tmp_path / "file").prepare(0)
    assert isinstance(caught.value.__cause__, OSError)


def test_every_error_number_is_explained(tmp_path: Path) -> None:
    """Whatever the file system fails with, a caller meets a `StorageError` and no `OSError`."""
    for number in errno.errorcode:
        with pytest.raises(StorageError), local.translate_disk_errors(tmp_path):
            raise OSError(number, os.strerror(number))
