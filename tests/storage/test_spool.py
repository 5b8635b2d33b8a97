"""The spool holds whole clips only, whoever is killed when, and never a secret."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.cli import main as cli
from musicgen.errors import DiskFull
from musicgen.settings import BucketSettings
from musicgen.storage.factory import clips_waiting, open_bucket
from musicgen.storage.spool import Spool, Upload

UPLOAD = Upload("music", "musicgen/job/clip.wav", "audio/wav", "inline", {"seed": "7"})


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_an_entry_comes_back_as_it_was(spool: Spool) -> None:
    entry = spool.add(UPLOAD, [b"so", b"und"])
    spool.keep(entry)
    (path,) = spool.waiting()
    with spool.taken(path) as found:
        assert found is not None
        assert (found.upload, found.file.read(), found.size) == (UPLOAD, b"sound", 5)
        spool.done(found)
    assert not list(spool.folder.iterdir())


def test_who_writes_or_sends_a_clip_keeps_others_away(spool: Spool) -> None:
    entry = spool.add(UPLOAD, [b"sound"])
    (path,) = spool.waiting()
    with spool.taken(path) as found:
        assert found is None
    spool.keep(entry)
    with spool.taken(path) as found, spool.taken(path) as second:
        assert found is not None and second is None


def test_a_clip_that_was_sent_meanwhile_is_no_error(spool: Spool) -> None:
    spool.keep(spool.add(UPLOAD, [b"sound"]))
    (path,) = spool.waiting()
    path.unlink()
    with spool.taken(path) as found:
        assert found is None
    assert spool.waiting() == []


def test_what_fails_while_it_is_written_leaves_nothing(spool: Spool) -> None:
    def blocks() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        spool.add(UPLOAD, blocks())
    assert not list(spool.folder.iterdir())


def test_a_process_killed_while_writing_leaves_no_entry_and_is_swept_a_day_later(
    spool: Spool,
) -> None:
    pid = os.fork()
    if pid == 0:

        def blocks() -> Iterator[bytes]:
            yield b"half"
            os._exit(9)

        spool.add(UPLOAD, blocks())
    os.waitpid(pid, 0)
    assert spool.waiting() == []
    (rest,) = spool.folder.iterdir()
    assert spool.sweep() == 0
    yesterday = time.time() - 25 * 3600
    os.utime(rest, (yesterday, yesterday))
    assert spool.sweep() == 1
    assert not list(spool.folder.iterdir())


def test_sweeping_spares_entries_and_what_is_being_written(spool: Spool) -> None:
    entry = spool.add(UPLOAD, [b"sound"])
    os.utime(entry.path, (0, 0))
    assert spool.sweep() == 0
    spool.keep(entry)
    assert spool.sweep() == 0
    assert len(spool.waiting()) == 1


def test_the_oldest_is_sent_first(spool: Spool) -> None:
    for age in (1, 3, 2):
        entry = spool.add(UPLOAD, [bytes([age])])
        os.utime(entry.path, (1000 - age, 1000 - age))
        spool.keep(entry)
    assert [path.read_bytes()[0] for path in spool.waiting()] == [3, 2, 1]


def test_a_full_disk_is_said(spool: Spool) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    with full.open("wb", buffering=0) as device, pytest.raises(DiskFull):
        from musicgen.storage.local import explained

        with explained(spool.folder):
            device.write(b"x")


def test_a_clip_that_goes_while_all_are_listed_is_no_error(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards a look at each clip's age after the look whether it is there."""
    spool.keep(spool.add(UPLOAD, [b"sound"]))
    monkeypatch.setattr(Path, "exists", lambda _path: True)
    (path,) = spool.folder.glob("*.clip")
    path.unlink()
    assert spool.waiting() == []


def test_one_description_that_is_no_json_does_not_hide_the_others(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        spool.keep(spool.add(UPLOAD, [b"sound"]))
    broken = spool.waiting()[0]
    broken.with_suffix(".json").write_text("{")
    monkeypatch.setenv("MUSICGEN_SPOOL_DIR", str(spool.folder))
    assert cli.main(["uploads", "list", "--json"]) == 0
    listed = {each["file"]: each for each in json.loads(capsys.readouterr().out)}
    assert len(listed) == 2
    assert "is no description" in listed[str(broken)]["error"]


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
        entry = spool.add(UPLOAD, [b"sound"])
        os.utime(entry.path, (time.time() - age, time.time() - age))
        spool.keep(entry)
    monkeypatch.setenv("MUSICGEN_SPOOL_DIR", str(spool.folder))
    assert cli.main(["uploads", "list", "--json", "--older-than", "3600"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_the_number_of_waiting_clips_is_that_of_now(spool: Spool) -> None:
    assert clips_waiting(spool.folder) == 0
    spool.keep(spool.add(UPLOAD, [b"sound"]))
    assert clips_waiting(spool.folder) == 1
    with spool.taken(spool.waiting()[0]) as found:
        assert found is not None
        spool.done(found)
    assert clips_waiting(spool.folder) == 0


def test_a_bucket_that_is_named_again_is_not_opened_again(tmp_path: Path) -> None:
    settings = BucketSettings(name="music", region="us-east-1")
    first = open_bucket(settings, tmp_path)
    assert open_bucket(BucketSettings(name="music", region="us-east-1"), tmp_path) is first
    assert open_bucket(BucketSettings(name="other", region="us-east-1"), tmp_path) is not first
