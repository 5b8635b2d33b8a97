"""A file that a command writes is whole, or is not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.cli.main import main
from tests.support.clips import tone_file
from tests.support.disks import full_disk, small_disk, tree


def test_a_full_disk_keeps_no_part_of_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Guards an empty file of notes, and half a key that keeps its name from the next try."""
    sound = str(tone_file(tmp_path / "tone.wav", 1))
    with small_disk(tmp_path / "disk", 1) as disk:
        (disk / "keys").mkdir()
        for command in (["midi", sound, "-o"], ["credentials", "new"]):
            target = disk / ("notes.mid" if command[0] == "midi" else "keys")
            before = tree(disk)
            with full_disk(disk):
                assert main([*command, str(target)]) == 1
                assert "No space left on device" in capsys.readouterr().err
                assert tree(disk) == sorted(["filler", *before])
            assert main([*command, str(target)]) == 0


def test_notes_never_replace_their_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tone_file(tmp_path / "tone.wav", 1)
    before = sound.read_bytes()
    assert main(["midi", str(sound), "-o", str(sound)]) == 2
    assert capsys.readouterr().err.startswith("musicgen: -o must end in .mid")
    assert sound.read_bytes() == before
