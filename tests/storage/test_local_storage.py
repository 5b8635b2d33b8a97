"""A clip is in its folder whole or not at all, and a failure says what the operator can mend."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.errors import DiskFull, NotWritable, StorageError
from musicgen.storage import local
from musicgen.storage.base import ClipName
from musicgen.storage.local import RESERVE_BYTES, LocalStorage, build_dated_key

NOBODY = 65534
CLIP = ClipName("job", 0, 1, "wav")


def _tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _under(key: str) -> Callable[[ClipName], str]:
    return lambda _name: key


def _in_child(action: Callable[[], None], before: Callable[[], None]) -> None:
    """Runs `action` in a forked process whose rights or limits `before` has changed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            before()
            action()
            status = 0
        except BaseException as error:
            os.write(2, f"in the child: {error!r}\n".encode())
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _drop_rights() -> None:
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def _limit_file_size() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def _open_to_everybody(folder: Path) -> None:
    """pytest closes its folders to other users, whom the tests of rights become."""
    for parent in folder.parents:
        if parent.name.startswith("pytest"):
            parent.chmod(0o755)
    folder.chmod(0o755)


def _only_without_rights(action: Callable[[], None], folder: Path) -> None:
    """Permission bits do not bind root, so `action` then runs as nobody."""
    if os.geteuid() == 0:
        _open_to_everybody(folder)
        _in_child(action, before=_drop_rights)
    else:
        action()


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


def test_a_stored_clip_is_at_its_address(tmp_path: Path) -> None:
    address = LocalStorage(tmp_path).put(CLIP, [b"music"], "audio/wav", {})
    assert Path(address).read_bytes() == b"music"
    assert _tree(tmp_path)[-1] == str(Path(address).relative_to(tmp_path))
    assert len(_tree(tmp_path)) == 3


@given(st.uuids(), st.integers(1, 8), st.data())
def test_a_dated_key_names_day_job_and_clip(job: object, count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, count - 1))
    key = build_dated_key(ClipName(str(job), index, count, "opus"))
    name = "clip.opus" if count == 1 else f"clip-{index + 1}.opus"
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d/{job}/{re.escape(name)}", key)


def test_variations_of_a_job_have_different_names() -> None:
    assert len({build_dated_key(ClipName("job", index, 8, "wav")) for index in range(8)}) == 8


def test_the_same_name_replaces(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, _under("clip.wav"))
    for data in (b"first, and longer", b"second"):
        assert Path(storage.put(CLIP, [data], "audio/wav", {})).read_bytes() == data
    assert _tree(tmp_path) == ["clip.wav"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """Guards writing straight to the final name: a reader races with 60 replacements."""
    storage = LocalStorage(tmp_path, _under("clip.wav"))
    clips = [bytes([value]) * 300_000 for value in (1, 2)]
    path = Path(storage.put(CLIP, [clips[0]], "audio/wav", {}))
    seen: list[bytes] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for turn in range(60):
            storage.put(CLIP, [clips[turn % 2]], "audio/wav", {})
    finally:
        done.set()
        reader.join()
    assert seen
    assert all(data in clips for data in seen)


def test_concurrent_writers_of_one_name_leave_one_whole_file(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, _under("day/job/clip.wav"))
    clips = [bytes([value]) * 200_000 for value in range(16)]
    with ThreadPoolExecutor(8) as pool:
        addresses = set(pool.map(lambda data: storage.put(CLIP, [data], "audio/wav", {}), clips))
    assert _tree(tmp_path) == ["day", "day/job", "day/job/clip.wav"]
    assert Path(addresses.pop()).read_bytes() in clips
    assert not addresses


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_a_failing_write_leaves_no_file_and_no_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    (tmp_path / "old").mkdir()

    def fail(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    target: Any = os if step == "fsync" else Path
    monkeypatch.setattr(target, step, fail)
    storage = LocalStorage(tmp_path / "out", _under("day/job/clip.wav"))
    expected = {errno.ENOSPC: DiskFull, errno.EACCES: NotWritable, errno.EIO: StorageError}[number]
    with pytest.raises(StorageError) as caught:
        storage.put(CLIP, [b"music"], "audio/wav", {})
    assert type(caught.value) is expected
    assert _tree(tmp_path) == ["old"]


def test_a_failing_replacement_keeps_the_old_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path, _under("job/clip.wav"))
    address = storage.put(CLIP, [b"old"], "audio/wav", {})

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull):
        storage.put(CLIP, [b"new"], "audio/wav", {})
    assert Path(address).read_bytes() == b"old"
    assert _tree(tmp_path) == ["job", "job/clip.wav"]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        LocalStorage(tmp_path).put(CLIP, [b"music"], "audio/wav", {})
    assert _tree(tmp_path) == []


def test_a_full_disk_is_told_and_left_as_it_was(small_disk: Path) -> None:
    storage = LocalStorage(small_disk)
    kept = storage.put(ClipName("kept", 0, 1, "wav"), [b"k" * 400_000], "audio/wav", {})
    before = _tree(small_disk)
    with pytest.raises(DiskFull, match="No space left on device"):
        storage.put(CLIP, [b"x" * 2**20], "audio/wav", {})
    assert _tree(small_disk) == before
    assert Path(kept).read_bytes() == b"k" * 400_000
    storage.put(CLIP, [b"x" * 400_000], "audio/wav", {})


def test_a_small_disk_is_refused_before_anything_is_written(small_disk: Path) -> None:
    with pytest.raises(DiskFull, match=r"MB free, but 16\.\d MB are needed"):
        LocalStorage(small_disk).prepare(1000)
    assert _tree(small_disk) == []


def test_a_disk_without_room_even_for_a_probe_is_full(small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "ballast").write_bytes(bytes(2**21))
    with pytest.raises(DiskFull):
        LocalStorage(small_disk / "new" / "folder").prepare(0)
    assert _tree(small_disk) == ["ballast"]


def test_a_limit_of_the_file_size_is_a_full_disk(tmp_path: Path) -> None:
    """The operating system itself refuses the 100001st byte, in a process of its own."""

    def action() -> None:
        with pytest.raises(DiskFull, match="File too large"):
            LocalStorage(tmp_path / "out").put(CLIP, [b"x" * 200_000], "audio/wav", {})

    _in_child(action, before=_limit_file_size)
    assert _tree(tmp_path) == []


@pytest.mark.parametrize("free", [0, RESERVE_BYTES + 999])
def test_expected_clips_and_the_reserve_must_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage._replace(free=free))
    with pytest.raises(DiskFull, match="Free some space"):
        LocalStorage(tmp_path).prepare(1000)
    assert _tree(tmp_path) == []


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
    assert _tree(tmp_path) == ["a", "a/b"]


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
        _only_without_rights(action, tmp_path)
        assert _tree(tmp_path) == ["closed"]
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
        _only_without_rights(action, tmp_path)
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
    assert _tree(tmp_path) == ["file"]


def test_a_clip_whose_name_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.wav").mkdir()
    with pytest.raises(NotWritable):
        LocalStorage(tmp_path, _under("clip.wav")).put(CLIP, [b"music"], "audio/wav", {})
    assert _tree(tmp_path) == ["clip.wav"]


@pytest.mark.parametrize(
    "key",
    ["../clip.wav", "a/../../clip.wav", "/etc/clip.wav", "", "a//b", "./clip.wav", "..", "a\0b"],
)
def test_a_key_cannot_leave_the_folder(tmp_path: Path, key: str) -> None:
    """A peer wrote to whatever file name the request held."""
    with pytest.raises(StorageError, match="not the name of a file inside"):
        LocalStorage(tmp_path / "out", _under(key)).put(CLIP, [b"music"], "audio/wav", {})
    assert _tree(tmp_path) == []


def test_a_job_named_like_a_path_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        LocalStorage(tmp_path).put(ClipName("../..", 0, 1, "wav"), [b"music"], "audio/wav", {})
    assert _tree(tmp_path) == []


def test_a_name_too_long_for_the_disk_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        LocalStorage(tmp_path).put(ClipName("j" * 300, 0, 1, "wav"), [b"music"], "audio/wav", {})
    assert _tree(tmp_path) == []


def test_removing_takes_the_clip_and_the_folders_it_leaves_empty(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "out")
    addresses = [
        storage.put(ClipName("job", index, 2, "wav"), [b"music"], "audio/wav", {})
        for index in range(2)
    ]
    storage.remove(addresses[0])
    assert Path(addresses[1]).read_bytes() == b"music"
    storage.remove(addresses[1])
    assert _tree(tmp_path) == ["out"]
    storage.remove(addresses[1])


def test_removing_keeps_folders_in_which_others_have_files(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, _under("day/job/clip.wav"))
    address = storage.put(CLIP, [b"music"], "audio/wav", {})
    (tmp_path / "day" / "notes.txt").write_bytes(b"kept")
    storage.remove(address)
    assert _tree(tmp_path) == ["day", "day/notes.txt"]


@pytest.mark.parametrize("where", ["foreign.wav", "out/../foreign.wav", "out", "out/a/../.."])
def test_removing_never_touches_what_is_outside_the_folder(tmp_path: Path, where: str) -> None:
    """Guards `remove`, which used to unlink any address that it was given."""
    (tmp_path / "foreign.wav").write_bytes(b"kept")
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError, match="nothing was deleted"):
        LocalStorage(tmp_path / "out").remove(str(tmp_path / where))
    assert _tree(tmp_path) == ["foreign.wav", "out"]


@pytest.mark.parametrize("folder", [".", "out", "../out"])
def test_relative_folders_store_and_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    storage = LocalStorage(Path(folder))
    storage.prepare(1000)
    empty = _tree(tmp_path)
    address = storage.put(CLIP, [b"music"], "audio/wav", {})
    assert Path(address).read_bytes() == b"music"
    storage.remove(address)
    assert _tree(tmp_path) == empty


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
