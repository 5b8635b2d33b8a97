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


def test_the_call_of_openais_client_works_as_written(server: JobServer, tmp_path: Path) -> None:
    section = README.split("## The job API")[1]
    block = re.search(r"```python\n(.*?OpenAI.*?)```", section, re.DOTALL)
    assert block is not None and SHOWN in block[1]
    program = block[1].replace(SHOWN, server.url)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    sound = soundfile.info(tmp_path / "music.mp3")
    assert (sound.format, sound.frames) == ("MP3", 5 * sound.samplerate)
