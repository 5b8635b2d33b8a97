"""Each command of the README is run by a test as it stands there, or has a reason not to be."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.support import ROOT

README = (ROOT / "README.md").read_text()
ELSEWHERE = {
    "make demo": "tests/test_make.py",
    "make api": "tests/test_make.py",
    "make test": "this suite",
    "curl": "tests/handlers/job_api/test_readme_calls.py",
}
"""Beginnings of commands, and the tests that run them."""
NEEDS_WEIGHTS = (
    *("--model small", "--model melody", 'Settings(model="small")', "MUSICGEN_MODEL=small"),
)
"""Parts of commands that download a model of Meta's first; the text says so."""


def _list_commands() -> list[str]:
    """The shell commands of all blocks, without comments."""
    commands = []
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            command = re.sub(r"\s+#.*|^#.*", "", line).strip()
            if command:
                commands.append(command)
    return commands


HERE = [
    command
    for command in _list_commands()
    if not command.startswith(tuple(ELSEWHERE)) and not any(n in command for n in NEEDS_WEIGHTS)
]


def test_the_lists_are_of_this_readme() -> None:
    assert all(any(c.startswith(start) for c in _list_commands()) for start in ELSEWHERE)
    assert all(part in README for part in NEEDS_WEIGHTS)
    assert len(HERE) == 3 and all(command.startswith("musicgen ") for command in HERE)
    assert set(re.findall(r"```(\w*)\n", README)) == {"sh", "python", ""}


@pytest.mark.slow
@pytest.mark.parametrize("command", HERE)
def test_a_command_runs_as_written(command: str, tmp_path: Path) -> None:
    """In a folder with the file that some of them continue."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "musicgen").write_text(f'#!/bin/sh\nexec {sys.executable} -m handlers.cli "$@"\n')
    (programs / "musicgen").chmod(0o755)
    env = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "MUSICGEN_DATA_DIR": str(tmp_path / "data"),
    }

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert "\r" not in done.stderr
        return done.stdout

    run("musicgen generate piano --duration 4 -o clip.wav")
    told = run(command)
    written = Path(told.split(": ")[0])
    assert soundfile.info(tmp_path / written).duration > 4


def test_the_python_example_runs_with_the_demo(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    # The other one needs a server: tests/handlers/job_api/test_waiting_calls.py runs it.
    (code,) = (block for block in blocks if "Predictor" in block)
    assert 'model="small"' in code and len(blocks) == 2
    done = subprocess.run(
        [sys.executable, "-c", code.replace('model="small"', 'model="demo"')],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MUSICGEN_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert " 7 " in done.stdout
