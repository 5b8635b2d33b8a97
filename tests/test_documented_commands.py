"""The commands and programs in all pages exist, have the options shown, and run with the demo."""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

from handlers.cli.main import build_parser
from musicgen.request import request_fields
from tests.support import ROOT

PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "musicgen/demo/checkpoint/README.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "clients").glob("*/README.md")),
    *sorted((ROOT / "skills").rglob("*.md")),
]
IDS = [str(page.relative_to(ROOT)) for page in PAGES]
INCOMPLETE = "the following arguments are required"
"""Part of argparse's message for a command that a text only names."""
NO_COMMAND = ("musicgen COMMAND --help", "musicgen pack --form {forms[0]}")
NOT_HERE = {
    "docs/deploying.md": "modal",
    "docs/job_api.md": "a server: tests/handlers/job_api/test_readme_calls.py",
    "README.md": "tests/test_readme_commands.py",
    "clients/python/README.md": "a server: tests/handlers/job_api/test_readme_calls.py",
}
"""Pages whose Python programs run elsewhere, or need an account."""


def _list_blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language in languages]


def _list_block_commands(page: Path) -> list[str]:
    lines = "".join(_list_blocks(page, "sh", "bash", "text")).replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"\s+#.*|^#.*", "", line).strip() for line in lines)
    return [line for line in stripped if line]


def _list_inline_commands(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def _find_musicgen(commands: list[str]) -> Iterator[str]:
    for command in commands:
        found = re.fullmatch(r"(?:\w+=\S+ )*(musicgen (?!-).*)", command)
        if found and found[1] not in NO_COMMAND and "|" not in command and "]" not in command:
            yield found[1]


def _complain(command: str) -> str:
    """Return the parser's complaint about a command with 4 for its numbers, or an empty text."""
    arguments = ["4" if word in ("S", "N") else word for word in shlex.split(command)[1:]]
    stream = io.StringIO()
    try:
        with redirect_stderr(stream), redirect_stdout(stream):
            build_parser().parse_args(arguments)
    except SystemExit as end:
        return stream.getvalue().splitlines()[-1] if end.code else ""
    return ""


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_each_command_is_one(page: Path) -> None:
    """Guards stale names and options, and `musicgen plan` without what it requires."""
    for command in _find_musicgen(_list_block_commands(page)):
        assert not _complain(command), command
    for command in _find_musicgen(_list_inline_commands(page)):
        complaint = _complain(command)
        assert not complaint or INCOMPLETE in complaint, (command, complaint)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_each_module_file_and_target_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in _list_block_commands(page) + _list_inline_commands(page):
        for module in re.findall(r"python -m ([\w.]+)", command):
            assert find_spec(module), command
        for file in re.findall(r"python ([\w/]+\.py)", command):
            assert (ROOT / file).exists(), command
        for target in re.findall(r"^make ([a-z][\w-]*)", command):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), command


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_each_setting_exists(page: Path) -> None:
    known = (ROOT / "docs" / "settings.md").read_text("utf-8")
    named = set(re.findall(r"\bMUSICGEN_[A-Z_]+[A-Z]\b(?!_)", page.read_text("utf-8")))
    assert not {name for name in named if f"`{name}`" not in known}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_no_program_uses_a_name_without_its_import(page: Path) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F401", "-q", "-"]
    for program in _list_blocks(page, "python"):
        done = subprocess.run(ruff, input=program, text=True, capture_output=True)
        assert done.returncode == 0, program + done.stdout


def test_requests_lists_the_options_with_other_names() -> None:
    page = (ROOT / "docs" / "requests.md").read_text("utf-8").split("##")[0]
    for name, spec in request_fields().items():
        if spec.option and spec.option != f"--{name.replace('_', '-')}":
            assert f"`{spec.option}` (`{name}`)" in " ".join(page.split())


REPLACED = {"PROMPT": "slow bells", " NAME": " demo", "--model small": "--model demo"}
NEEDS_MORE = (
    *("--target", "convert ", "RUN", "ADAPTER", "DIR", "stems", "serve", "--server", "mcp"),
    *("audiogen", "musicgen-style", "backup", "restore", "melody", "serve-l4", "pack small"),
    "doctor",
)
"""Parts of commands that need weights, a server or an account."""


def _list_runnable() -> list[str]:
    """The commands that the demo can run, each once."""
    pages = [page for page in PAGES if page.name != "README.md" or "checkpoint" in str(page)]
    commands = [c for page in pages for c in _find_musicgen(_list_block_commands(page))]
    return sorted({c for c in commands if not any(part in c for part in NEEDS_MORE)})


def _prepare(folder: Path) -> dict[str, str]:
    """Return the environment of a user with the command `musicgen`."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "musicgen").write_text(f'#!/bin/sh\nexec {sys.executable} -m handlers.cli "$@"\n')
    (programs / "musicgen").chmod(0o755)
    own = {"HOME": str(folder), "MUSICGEN_DATA_DIR": str(folder / "data")}
    path = f"{programs}:{os.environ['PATH']}"
    return {**os.environ, **own, "PATH": path, "PYTHONPATH": str(ROOT)}


def test_there_are_runnable_commands() -> None:
    assert len(_list_runnable()) >= 10


@pytest.mark.slow
@pytest.mark.parametrize("command", _list_runnable())
def test_a_command_runs_with_the_demo(command: str, tmp_path: Path) -> None:
    """In a folder with the clip, signed, that some of them read."""
    env = _prepare(tmp_path)

    def run(line: str) -> None:
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, (line, done.stderr)

    run(
        "musicgen credentials new . > /dev/null && musicgen generate piano --duration 1 -o CLIP.wav"
    )
    signing = "KEY_FILE=signing.key", "CERTIFICATE_FILE=signing.pem"
    keys = " ".join(f"MUSICGEN_CREDENTIALS_{name}" for name in signing)
    run(f"{keys} musicgen generate piano --duration 1 -o clip.flac")
    for word, other in REPLACED.items():
        command = command.replace(word, other)
    command = re.sub(r"(--duration|--seed) [SN]\b", r"\1 4", command)
    limit = " --pairs 1 --duration 1" if " evaluate " in command else ""
    run(command + limit)


PROGRAMS = [
    p for p in PAGES if str(p.relative_to(ROOT)) not in NOT_HERE and _list_blocks(p, "python")
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PROGRAMS, ids=lambda page: page.name)
def test_a_program_runs_with_the_demo(page: Path, tmp_path: Path) -> None:
    env = _prepare(tmp_path)
    for program in _list_blocks(page, "python"):
        if "from_pretrained" in program:
            continue  # It needs an adapter; merges are tested in tests/checkpoints.
        command = [sys.executable, "-c", program.replace('model="small"', 'model="demo"')]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
