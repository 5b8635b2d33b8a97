"""Each option that takes a file or folder names one that is missing, before any work."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers.cli.main import main
from handlers.cli.statuses import EXIT_BAD_INPUT

CASES = [
    ("convert ./no -o new", "FOLDER must be an existing folder"),
    ("convert {runs} --base ./no -o new", "--base is not an existing folder or file"),
    ("convert musicgen-style -o new --base ./no", "--base is not an existing folder or file"),
    ("convert musicgen-style -o new --features ./no", "--features must be an existing folder"),
    ("convert musicgen-style -o new --features no", "--features must be an existing folder"),
    ("pack ./no", "model is not an existing folder or file"),
    ("pack packed/no.native-int8.packed", "model is not an existing folder or file"),
    ("pack no.packed", "model is not an existing folder or file"),
    ("pack --check no.packed", "--check is not an existing file"),
    ("generate piano --model ./no", "model is not an existing folder or file"),
    ("generate piano --model no/", "model is not an existing folder or file"),
    ("generate piano --input-audio no.wav --continuation", "--input-audio is not a file"),
    (
        "call --target hf --name https://h.example piano --input-audio no.wav",
        "--input-audio is not",
    ),
    ("verify --model ./no", "model is not an existing folder or file"),
    ("evaluate --model ./no", "model is not an existing folder or file"),
    ("evaluate --music ./no", "--music must be an existing folder"),
    ("midi no.wav", "FILE is not an existing file"),
    ("stems no.wav", "FILE is not an existing file"),
    ("inspect no.wav", "FILE is not an existing file"),
    ("inspect {sound} --trust no.pem", "--trust is not an existing file"),
    ("pack --check {runs}", "--check is not an existing file"),
    ("restore no.tar", "FILE is not an existing file"),
    ("restore {runs}", "FILE is not an existing file"),
    ("plan --jobs-per-hour 3 --gpu L4 --throughput no.json", "--throughput must be a file"),
]


@pytest.mark.parametrize(("command", "text"), CASES, ids=[command for command, _ in CASES])
def test_a_missing_file_is_named(
    command: str,
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Guards a question to the hub, or the load of a model, before the fault is told."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "a.wav").write_bytes(b"RIFF" + bytes(64))
    arguments = command.format(runs="runs", sound="a.wav").split()
    assert main(arguments) == EXIT_BAD_INPUT
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("musicgen: ") and text in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "runs"]
