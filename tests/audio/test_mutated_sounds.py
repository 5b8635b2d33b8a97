"""Damaged files of every container: sound or a refusal, in bounded time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from musicgen.audio.decode import read_audio
from musicgen.audio.decoder_limits import CPU_SECONDS, OUT_OF_LIMITS
from musicgen.errors import InvalidInputAudio
from tests.support import ROOT
from tests.support.health_watch import peak_bytes, resident_bytes
from tests.support.job_server import data_folder, job_server
from tests.support.mutations import make_originals, mutate_files

SEED = 20_261_128
MOST_KILOBYTES = 250_000
MOST_SECONDS = 10.0


@pytest.fixture
def probe() -> Iterator[subprocess.Popen[str]]:
    """Measuring of many files, each in a process of its own."""
    command = [sys.executable, "-m", "tests.support.forked_probe"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _measure(probe: subprocess.Popen[str], path: Path) -> dict[str, float | str]:
    assert probe.stdin is not None and probe.stdout is not None
    probe.stdin.write(f"{path}\n")
    probe.stdin.flush()
    measured: dict[str, float | str] = json.loads(probe.stdout.readline())
    return measured


def _check(probe: subprocess.Popen[str], folder: Path, count: int, seed: int) -> str:
    """Measure damaged files, and return the figures."""
    ends: Counter[str] = Counter()
    kilobytes, seconds = 0.0, 0.0
    for name, data in mutate_files(count, seed):
        path = folder / name
        path.write_bytes(data)
        measured = _measure(probe, path)
        path.unlink()
        assert float(measured["kilobytes"]) < MOST_KILOBYTES, (name, measured)
        assert float(measured["seconds"]) < MOST_SECONDS, (name, measured)
        kilobytes = max(kilobytes, float(measured["kilobytes"]))
        seconds = max(seconds, float(measured["seconds"]))
        if measured["output"]:
            assert measured["status"] == 0, (name, measured)
            answer = json.loads(str(measured["output"]))
            assert set(answer) in ({"seconds"}, {"reason", "values", "advice"}), (name, answer)
            ends["read" if "seconds" in answer else "refused"] += 1
        else:
            # A crash of a library: a signal, which the API turns into the typed error. An
            # exception of this project would end with 1.
            assert int(measured["status"]) < 0, (name, measured)
            ends[f"signal {-int(measured['status'])}"] += 1
    assert ends["read"] and ends["refused"]
    return f"{dict(ends)}, at most {kilobytes / 1000:.0f} MB and {seconds:.2f} s of processor time"


def test_every_original_is_read(probe: subprocess.Popen[str], tmp_path: Path) -> None:
    for name, data in make_originals().items():
        path = tmp_path / name
        path.write_bytes(data)
        answer = json.loads(str(_measure(probe, path)["output"]))
        joined = 2 if name.startswith("joined") else 1
        assert answer.get("seconds") == pytest.approx(0.25 * joined, abs=0.3 * joined), name


def test_damaged_files_are_sound_or_refused(probe: subprocess.Popen[str], tmp_path: Path) -> None:
    _check(probe, tmp_path, 90, SEED)


@pytest.mark.slow
def test_two_thousand_damaged_files_are_sound_or_refused(
    probe: subprocess.Popen[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert MOST_SECONDS < CPU_SECONDS
    figures = _check(probe, tmp_path, 2_000, SEED + 1)
    with capsys.disabled():
        sys.stdout.write(f"\n2000 damaged files: {figures}\n")


def test_a_stranger_s_damaged_file_ends_no_reader(tmp_path: Path) -> None:
    for name, data in mutate_files(6, SEED + 2):
        path = tmp_path / name
        path.write_bytes(data)
        try:
            pcm, _ = read_audio(path, is_foreign=True)
        except InvalidInputAudio:
            continue
        assert np.isfinite(pcm).all()


def test_a_file_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A name may be too long for this system, or the file closed to this user."""
    with pytest.raises(InvalidInputAudio, match="cannot be read: File name too long"):
        read_audio(tmp_path / ("x" * 300), is_foreign=True)


@pytest.mark.parametrize(("name", "is_foreign"), [("sf-wav", True), ("av-webm", False)])
def test_a_crash_of_the_decoder_is_a_refusal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    crashing_program: Path,
    name: str,
    is_foreign: bool,
) -> None:
    """ffmpeg is in a child for files of this project too."""
    path = tmp_path / "sound"
    path.write_bytes(make_originals()[name])
    monkeypatch.setattr(sys, "executable", str(crashing_program))
    with pytest.raises(InvalidInputAudio, match=OUT_OF_LIMITS):
        read_audio(path, is_foreign=is_foreign)


@pytest.mark.slow
def test_damaged_uploads_are_answered_and_leave_nothing() -> None:
    settings = {"MUSICGEN_RATE_LIMIT": "100000/minute", "MUSICGEN_UPLOADS_PER_KEY": 100_000}
    with data_folder() as folder, job_server(folder, "api", **settings) as api:
        statuses: Counter[int] = Counter()
        before = 0
        for index, (name, data) in enumerate(mutate_files(200, SEED + 3)):
            answer: httpx.Response = api.http.post("/v1/uploads", content=data)
            statuses[answer.status_code] += 1
            if answer.status_code != 201:
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (422, "invalid_input_audio"), name
            if index == 50:
                before = resident_bytes(api.process.pid)
        assert set(statuses) == {201, 422}
        assert resident_bytes(api.process.pid) < before + 20e6
        assert peak_bytes(api.process.pid) < 250e6
        stored = list((folder / "uploads").iterdir())
        assert len(stored) == statuses[201]
