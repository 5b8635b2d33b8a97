"""Conversions of clips lie in one folder with a limit, and go with their job."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from handlers.job_api.errors import NotFound
from handlers.job_api.store.clip_cache import ClipCache
from handlers.job_api.store.disk import delete_old_files, hide_disk_errors
from handlers.job_api.store.files import JobFiles, StoredClip
from musicgen.errors import NotWritable
from tests.support.clips import wav

JOB = 32 * "a"


def test_a_conversion_of_a_clip_on_disk_is_cached_and_goes_with_its_job(tmp_path: Path) -> None:
    """It lay beside its clip, without a limit."""
    files, stored = JobFiles(tmp_path), StoredClip(f"{JOB}-1", 1, "wav", "")
    clip = files.get_clip_path(stored.run_name, 1, "wav")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(wav(0.5))
    made = files.convert_clip(stored, "flac")
    assert made.parent == tmp_path / "converted" and made.read_bytes().startswith(b"fLaC")
    assert list(clip.parent.iterdir()) == [clip]
    number = made.stat().st_ino
    assert files.convert_clip(stored, "flac").stat().st_ino == number, "made once"
    files.delete_job(JOB)
    assert list(made.parent.iterdir()) == []
    with pytest.raises(NotFound, match="deleted"):
        files.convert_clip(stored, "flac")


def test_the_file_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = ClipCache(tmp_path, limit_bytes=250)

    def make(folder: Path) -> Path:
        path = folder / "made"
        path.write_bytes(bytes(100))
        return path

    for age, name in enumerate(("c", "b", "a")):
        os.utime(cache.get_or_make(name, make), (1000 - age, 1000 - age))
    assert cache.get_or_make("d", make).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d"]


def test_callers_do_not_see_the_folder_of_a_disk_error(tmp_path: Path) -> None:
    """A full disk hid it; one that cannot be written to showed it."""
    folder = tmp_path / "secret"
    folder.write_text("a file in its place")
    with pytest.raises(NotWritable) as raised, hide_disk_errors(folder, "another upload"):
        (folder / "part").write_bytes(b"sound")
    assert "secret" not in str(raised.value) and "another upload" in str(raised.value)


def test_only_old_files_and_folders_go(tmp_path: Path) -> None:
    for name in ("old", "kept", "young", ".old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").touch()
    for name in ("old", "kept", ".old"):
        os.utime(tmp_path / name, (0, 0))
    delete_old_files(tmp_path, 3600, "[!.]*", {"kept"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".old", "kept", "young"]
    delete_old_files(tmp_path, 3600)
    assert [path.name for path in tmp_path.iterdir()] == ["young"]
