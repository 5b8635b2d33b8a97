"""The spool holds whole clips only, whoever is killed when, and never a secret."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from handlers.cli import main as cli
from musicgen.errors import DiskFull
from musicgen.settings import BucketSettings, Settings
from musicgen.storage.factory import count_waiting_clips, open_bucket, open_storage
from musicgen.storage.spool import Spool, UploadTarget

TARGET = UploadTarget("music", "musicgen/job/clip.wav", "audio/wav", "inline", {"seed": "7"})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_an_entry_comes_back_as_it_was(spool: Spool) -> None:
    entry = spool.add(TARGET, [b"so", b"und"])
    spool.release(entry)
    (path,) = spool.list_waiting()
    with spool.lock(path) as found:
        assert found is not None
        assert (found.target, found.file.read(), found.size) == (TARGET, b"sound", 5)
        spool.remove(found)
    assert not list(spool.folder.iterdir())


def test_who_writes_or_sends_a_clip_keeps_others_away(spool: Spool) -> None:
    entry = spool.add(TARGET, [b"sound"])
    (path,) = spool.list_waiting()
    with spool.lock(path) as found:
        assert found is None
    spool.release(entry)
    with spool.lock(path) as found, spool.lock(path) as second:
        assert found is not None and second is None


def test_a_clip_that_was_sent_meanwhile_is_no_error(spool: Spool) -> None:
    spool.release(spool.add(TARGET, [b"sound"]))
    (path,) = spool.list_waiting()
    path.unlink()
    with spool.lock(path) as found:
        assert found is None
    assert spool.list_waiting() == []


def test_what_fails_while_it_is_written_leaves_nothing(spool: Spool) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        spool.add(TARGET, blocks())
    assert not list(spool.folder.iterdir())


def test_a_process_killed_while_writing_leaves_no_entry_and_is_swept_a_day_later(
    spool: Spool,
) -> None:
    pid = os.fork()
    if pid == 0:

        def blocks() -> Iterator[bytes]:
            yield b"half"
            os._exit(9)

        spool.add(TARGET, blocks())
    os.waitpid(pid, 0)
    assert spool.list_waiting() == []
    (rest,) = spool.folder.iterdir()
    assert spool.sweep() == 0
    yesterday = time.time() - 25 * 3600
    os.utime(rest, (yesterday, yesterday))
    assert spool.sweep() == 1
    assert not list(spool.folder.iterdir())


def test_sweeping_spares_entries_and_what_is_being_written(spool: Spool) -> None:
    entry = spool.add(TARGET, [b"sound"])
    os.utime(entry.path, (0, 0))
    assert spool.sweep() == 0
    spool.release(entry)
    assert spool.sweep() == 0
    assert len(spool.list_waiting()) == 1


def test_the_oldest_is_sent_first(spool: Spool) -> None:
    for age in (1, 3, 2):
        entry = spool.add(TARGET, [bytes([age])])
        os.utime(entry.path, (1000 - age, 1000 - age))
        spool.release(entry)
    assert [path.read_bytes()[0] for path in spool.list_waiting()] == [3, 2, 1]


def test_a_full_disk_is_said(spool: Spool) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb", buffering=0) as device, pytest.raises(DiskFull):
        from musicgen.disk_errors import translate_disk_errors

        with translate_disk_errors(spool.folder):
            device.write(b"x")


def test_a_clip_that_goes_while_all_are_listed_is_no_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a look at each clip's age after the look whether it is there."""
    spool.release(spool.add(TARGET, [b"sound"]))
    monkeypatch.setattr(Path, "exists", lambda _path: True)
    (path,) = spool.folder.glob("*.clip")
    path.unlink()
    assert spool.list_waiting() == []


def test_one_description_that_is_no_json_does_not_hide_the_others(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        spool.release(spool.add(TARGET, [b"sound"]))
    broken = spool.list_waiting()[0]
    broken.with_suffix(".json").write_text("{")
    monkeypatch.setenv("MUSICGEN_SPOOL_DIR", str(spool.folder))
    assert cli.main(["uploads", "list", "--json"]) == 0
    listed = {each["file"]: each for each in json.loads(capsys.readouterr().out)}
    assert len(listed) == 2
    assert "is not a valid description" in listed[str(broken)]["error"]


def test_list_shows_what_a_killed_process_left_unfinished(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spool.folder.mkdir()
    (spool.folder / "half.clip").write_bytes(b"half")
    monkeypatch.setenv("MUSICGEN_SPOOL_DIR", str(spool.folder))
    assert cli.main(["uploads", "list"]) == 0
    assert "half.clip: not finished" in capsys.readouterr().out


def test_only_clips_of_the_age_that_is_asked_for_are_listed(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for age in (0, 7200):
        entry = spool.add(TARGET, [b"sound"])
        os.utime(entry.path, (time.time() - age, time.time() - age))
        spool.release(entry)
    monkeypatch.setenv("MUSICGEN_SPOOL_DIR", str(spool.folder))
    assert cli.main(["uploads", "list", "--json", "--older-than", "3600"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_the_number_of_waiting_clips_is_that_of_now(spool: Spool) -> None:
    assert count_waiting_clips(spool.folder) == 0
    spool.release(spool.add(TARGET, [b"sound"]))
    assert count_waiting_clips(spool.folder) == 1
    with spool.lock(spool.list_waiting()[0]) as found:
        assert found is not None
        spool.remove(found)
    assert count_waiting_clips(spool.folder) == 0


def test_a_bucket_that_is_named_again_is_not_opened_again(tmp_path: Path) -> None:
    settings = BucketSettings(name="music", region="us-east-1")
    first = open_bucket(settings, tmp_path)
    assert open_bucket(BucketSettings(name="music", region="us-east-1"), tmp_path) is first
    assert open_bucket(BucketSettings(name="other", region="us-east-1"), tmp_path) is not first


def test_a_start_deletes_what_is_addressed_elsewhere_after_a_week(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Such clips are never sent. The operator's own, those in transfer and broken ones stay."""
    week = 7 * 24 * 3600
    spool = Spool(tmp_path / "spool")
    other = replace(TARGET, endpoint_url="https://callers.example")
    ages = {"old": (other, week + 60), "young": (other, week - 60), "own": (TARGET, 10 * week)}
    paths = {}
    for name, (target, age) in ages.items():
        entry = spool.add(target, [b"sound"])
        spool.release(entry)
        os.utime(entry.path, (time.time() - age,) * 2)
        paths[name] = entry.path
    broken = spool.add(other, [b"sound"])
    broken.path.with_suffix(".json").write_text("{")
    spool.release(broken)
    moving = spool.add(other, [b"sound"])
    os.utime(moving.path, (0, 0))
    open_bucket(BucketSettings(name="music"), spool.folder)
    left = {broken.path, moving.path, paths["young"], paths["own"]}
    assert set(spool.folder.glob("*.clip")) == left
    # Without a bucket every clip is addressed elsewhere.
    open_storage(Settings(spool_dir=spool.folder, data_dir=tmp_path))
    assert set(spool.folder.glob("*.clip")) == left - {paths["own"]}
    assert "another bucket than MUSICGEN_BUCKET" in caplog.text
    spool.release(moving)
