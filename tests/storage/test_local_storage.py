"""A clip is in its folder whole or not at all, and a failure says what the operator can mend."""

from __future__ import annotations

import errno
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen.errors import DiskFull, NotWritable, StorageError
from musicgen.storage.base import ClipName
from musicgen.storage.local import LocalStorage, build_dated_key, write_atomically
from tests.support.disks import CLIP, tree, under


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    """Guards against a device such as /dev/null that became a clip."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(NotWritable, match="pipe is a device or a pipe"):
        write_atomically(pipe, [b"music"])
    assert pipe.is_fifo() and tree(tmp_path) == ["pipe"]


def test_a_stored_clip_is_at_its_address(tmp_path: Path) -> None:
    address = LocalStorage(tmp_path).put(CLIP, [b"music"], "audio/wav", {})
    assert Path(address).read_bytes() == b"music"
    assert tree(tmp_path)[-1] == str(Path(address).relative_to(tmp_path))
    assert len(tree(tmp_path)) == 3


@given(st.uuids(), st.integers(1, 8), st.data())
def test_a_dated_key_names_day_job_and_clip(job: object, count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, count - 1))
    key = build_dated_key(ClipName(str(job), index, count, "opus"))
    name = "clip.opus" if count == 1 else f"clip-{index + 1}.opus"
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d/{job}/{re.escape(name)}", key)


def test_variations_of_a_job_have_different_names() -> None:
    assert len({build_dated_key(ClipName("job", index, 8, "wav")) for index in range(8)}) == 8


def test_the_same_name_replaces(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, under("clip.wav"))
    for data in (b"first, and longer", b"second"):
        assert Path(storage.put(CLIP, [data], "audio/wav", {})).read_bytes() == data
    assert tree(tmp_path) == ["clip.wav"]


def test_a_reader_never_sees_a_part(tmp_path: Path) -> None:
    """Guards writing straight to the final name: a reader races with 60 replacements."""
    storage = LocalStorage(tmp_path, under("clip.wav"))
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
    storage = LocalStorage(tmp_path, under("day/job/clip.wav"))
    clips = [bytes([value]) * 200_000 for value in range(16)]
    with ThreadPoolExecutor(8) as pool:
        addresses = set(pool.map(lambda data: storage.put(CLIP, [data], "audio/wav", {}), clips))
    assert tree(tmp_path) == ["day", "day/job", "day/job/clip.wav"]
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
    storage = LocalStorage(tmp_path / "out", under("day/job/clip.wav"))
    expected = {errno.ENOSPC: DiskFull, errno.EACCES: NotWritable, errno.EIO: StorageError}[number]
    with pytest.raises(StorageError) as caught:
        storage.put(CLIP, [b"music"], "audio/wav", {})
    assert type(caught.value) is expected
    assert tree(tmp_path) == ["old"]


def test_a_failing_replacement_keeps_the_old_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path, under("job/clip.wav"))
    address = storage.put(CLIP, [b"old"], "audio/wav", {})

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFull):
        storage.put(CLIP, [b"new"], "audio/wav", {})
    assert Path(address).read_bytes() == b"old"
    assert tree(tmp_path) == ["job", "job/clip.wav"]


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        LocalStorage(tmp_path).put(CLIP, [b"music"], "audio/wav", {})
    assert tree(tmp_path) == []


def test_removing_takes_the_clip_and_the_folders_it_leaves_empty(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "out")
    addresses = [
        storage.put(ClipName("job", index, 2, "wav"), [b"music"], "audio/wav", {})
        for index in range(2)
    ]
    storage.remove(addresses[0])
    assert Path(addresses[1]).read_bytes() == b"music"
    storage.remove(addresses[1])
    assert tree(tmp_path) == ["out"]
    storage.remove(addresses[1])


def test_removing_keeps_folders_in_which_others_have_files(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, under("day/job/clip.wav"))
    address = storage.put(CLIP, [b"music"], "audio/wav", {})
    (tmp_path / "day" / "notes.txt").write_bytes(b"kept")
    storage.remove(address)
    assert tree(tmp_path) == ["day", "day/notes.txt"]


@pytest.mark.parametrize("where", ["foreign.wav", "out/../foreign.wav", "out", "out/a/../.."])
def test_removing_never_touches_what_is_outside_the_folder(tmp_path: Path, where: str) -> None:
    """Guards `remove`, which used to unlink any address that it was given."""
    (tmp_path / "foreign.wav").write_bytes(b"kept")
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError, match="nothing was deleted"):
        LocalStorage(tmp_path / "out").remove(str(tmp_path / where))
    assert tree(tmp_path) == ["foreign.wav", "out"]


@pytest.mark.parametrize("folder", [".", "out", "../out"])
def test_relative_folders_store_and_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    storage = LocalStorage(Path(folder))
    storage.prepare(1000)
    empty = tree(tmp_path)
    address = storage.put(CLIP, [b"music"], "audio/wav", {})
    assert Path(address).read_bytes() == b"music"
    storage.remove(address)
    assert tree(tmp_path) == empty
