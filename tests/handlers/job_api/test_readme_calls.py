"""The calls that the README shows, sent by curl to a real server, as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from tests.support import ROOT
from tests.support.job_server import JobServer

README = (ROOT / "README.md").read_text()
SHOWN = "http://127.0.0.1:8000"


def _calls() -> list[str]:
    """The three commands, without what follows them as a comment."""
    section = README.split("## The job API")[1]
    block = re.search(r"```sh\n(curl.*?)```", section, re.DOTALL)
    assert block is not None
    lines = re.sub(r"\s*#.*", "", block[1].replace("\\\n", " ")).splitlines()
    return [line for line in lines if line]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_three_calls_work_as_written(server: JobServer, tmp_path: Path) -> None:
    submit, status, audio = _calls()

    def run(command: str, job_id: str = "") -> str:
        assert SHOWN in command
        return subprocess.run(
            ["bash", "-c", command.replace(SHOWN, server.url)],
            env={**os.environ, "JOB_ID": job_id},
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    submitted = json.loads(run(submit))
    job_id = submitted["job_id"]
    assert submitted == {"job_id": job_id, "status": "queued"}
    server.ended(job_id)
    told = json.loads(run(status, job_id))
    assert (told["status"], told["audio_url"]) == ("completed", f"/audio/{job_id}.wav")
    run(audio, job_id)
    sound = soundfile.info(tmp_path / "music.wav")
    assert (sound.format, sound.frames) == ("WAV", 5 * sound.samplerate)


@pytest.mark.parametrize(("page", "seconds"), [("README.md", 5), ("docs/job_api.md", 10)])
def test_the_call_of_openais_client_works_as_written(
    server: JobServer, tmp_path: Path, page: str, seconds: int
) -> None:
    (program,) = (block for block in _programs(page) if "OpenAI" in block)
    _run_program(program, SHOWN, server, tmp_path)
    sound = soundfile.info(tmp_path / "music.mp3")
    assert (sound.format, sound.frames) == ("MP3", seconds * sound.samplerate)


def test_the_programs_of_the_python_client_work_as_written(
    server: JobServer, tmp_path: Path
) -> None:
    """Guards a second program that used the closed client of the first one."""
    programs = _programs("clients/python/README.md")
    for program in programs:
        _run_program(program, "https://music.example.com", server, tmp_path)
    assert len(programs) == 2
    assert soundfile.info(tmp_path / "piano.wav").duration == 20
    assert soundfile.info(tmp_path / "piano.mp3").format == "MP3"


def _programs(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def _run_program(program: str, shown: str, server: JobServer, folder: Path) -> None:
    assert shown in program
    command = [sys.executable, "-c", program.replace(shown, server.url)]
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
