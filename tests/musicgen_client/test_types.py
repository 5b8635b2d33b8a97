"""A program of a user is checked by mypy, strictly: right uses pass, wrong ones do not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

RIGHT = """
import asyncio
from datetime import datetime
from pathlib import Path
from typing import assert_type

from musicgen_client import (
    ApiError, AsyncMusicGenClient, GenerationFields, Job, MusicGenClient, RateLimited, RetryPolicy,
    Section, Upload,
)

def show(job: Job) -> None:
    assert_type(job.created_at, datetime)
    assert_type([clip.seed for clip in job.clips], list[int | None])

def make(url: str) -> list[Path]:
    part: Section = {"prompt": "calm", "duration": 5}
    fields: GenerationFields = {"sections": [part], "seed": None, "output_format": "mp3"}
    with MusicGenClient(url, "key", 5, policy=RetryPolicy(retries=1)) as client:
        upload = client.upload(Path("a.wav"))
        assert_type(upload, Upload)
        job = client.generate(tell=show, timeout=60, input_audio=upload.input_audio, bitrate=192)
        for state in client.events(client.submit(**fields)):
            assert_type(state, Job)
        for block in client.stream(job.id, clip=2):
            assert_type(block, bytes)
        assert_type(client.audio(job.clips[0], "flac", (0, None)), bytes)
        assert_type([job.id for job in client.jobs("failed", search="x")], list[str])
        assert_type(client.change(job.id, favourite=True).name, str | None)
        assert_type([upload.expires_at for upload in client.uploads()], list[datetime])
        assert_type(client.models().models[0].licence, str)
        return client.save(job, Path("b.flac"), "flac")

async def make_async(url: str) -> None:
    async with AsyncMusicGenClient(url) as client:
        try:
            job = await client.generate(normalization_strategy="peak", sample_rate=48000)
        except RateLimited as error:
            assert_type(error.retry_after, float | None)
        except ApiError as error:
            assert_type((error.code, error.status, error.field), tuple[str | None, int, str | None])
        else:
            assert_type((await client.cancel(job.id)).is_final, bool)
        assert_type([state async for state in client.events("1")], list[Job])
        assert_type([block async for block in client.stream("1")], list[bytes])

asyncio.run(make_async("http://127.0.0.1"))
"""
WRONG = {
    'client.submit(promt="x")': "promt",
    "client.submit(prompt=3)": "arg-type",
    'client.generate(output_format="aac")': "output_format",
    "client.generate(sample_rate=8000)": "sample_rate",
    'client.generate(sections=[{"prompt": "x"}])': "duration",
    'client.audio("1.wav", "aac")': "arg-type",
    'list(client.jobs("ended"))': "arg-type",
    "client.status(1)": "arg-type",
    "client.models().data": "attr-defined",
}


def _check(folder: Path, program: str) -> str:
    """What mypy says, with nothing but the package beside the program."""
    shutil.copytree(ROOT / "musicgen_client", folder / "lib" / "musicgen_client")
    (folder / "program.py").write_text(program)
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\nmypy_path = lib\n")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "cache", "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
    ).stdout


def test_a_program_is_checked_strictly(tmp_path: Path) -> None:
    head = "from musicgen_client import MusicGenClient\nclient = MusicGenClient('')\n"
    said = _check(tmp_path, RIGHT)
    assert "Success" in said, said
    (tmp_path / "wrong.py").write_text(head + "\n".join(WRONG) + "\n")
    wrong = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", "cache", "wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout
    for number, (line, word) in enumerate(WRONG.items(), 3):
        about = [text for text in wrong.splitlines() if text.startswith(f"wrong.py:{number}:")]
        assert any(word in text for text in about), (line, wrong)
