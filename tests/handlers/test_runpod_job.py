"""Jobs of RunPod on the embedded model, without the SDK's loop around them."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import wave
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from runpod.serverless.modules.rp_handler import is_generator
from runpod.serverless.modules.rp_job import run_job

from handlers import serving
from handlers.runpod_job import RunPodJobs, build_job_id
from musicgen import errors
from musicgen.predictor import Predictor
from musicgen.settings import Settings
from tests.support.runpod_jobs import make_job, stream_job

SETTINGS = Settings(threads=1)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(SETTINGS)


@pytest.fixture
def jobs(predictor: Predictor) -> RunPodJobs:
    return RunPodJobs(predictor, SETTINGS)


def _tone() -> bytes:
    """A second of a square wave, as a wav."""
    file = BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(struct.pack("<160h", *([8000] * 80 + [-8000] * 80)) * 100)
    return file.getvalue()


def test_the_sdk_takes_the_one_for_a_generator_and_the_other_not(jobs: RunPodJobs) -> None:
    assert is_generator(jobs.handle_stream)
    assert not is_generator(jobs.handle)


def test_a_reply_is_json_with_the_clip_in_it(jobs: RunPodJobs) -> None:
    reply = asyncio.run(jobs.handle(make_job(variations=2)))
    assert json.loads(json.dumps(reply, allow_nan=False)) == reply
    assert (reply["job_id"], reply["seed"], reply["licence"]) == ("job-1", 7, "Apache-2.0")
    assert [clip["seed"] for clip in reply["clips"]] == [7, 8]
    for clip in reply["clips"]:
        assert len(base64.b64decode(clip["audio"], validate=True)) == clip["bytes"]


@pytest.mark.parametrize("job", [{}, {"input": None}, {"input": []}, {"input": "a prompt"}])
def test_an_input_that_is_no_object_is_named(jobs: RunPodJobs, job: dict[str, Any]) -> None:
    for answer in (asyncio.run(jobs.handle(job)), *stream_job(jobs, job)):
        assert list(answer) == ["error"]
        assert answer["error"].startswith("invalid_request: input must be an object")


def test_input_audio_is_continued_and_its_copy_is_gone(
    jobs: RunPodJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    audio = base64.b64encode(_tone()).decode()
    reply = asyncio.run(jobs.handle(make_job(1.2, input_audio=audio, continuation=True)))
    assert reply["clips"][0]["seconds"] == 1.2
    assert list(tmp_path.iterdir()) == []


def test_the_loop_runs_on_while_the_input_audio_is_fetched(
    jobs: RunPodJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download on the loop's thread would keep the worker from hearing of anything else."""
    threads = []
    real = serving.open_input_audio

    def record_loop(*arguments: Any) -> Any:
        try:
            threads.append(asyncio.get_running_loop())
        except RuntimeError:
            threads.append(None)
        return real(*arguments)

    monkeypatch.setattr(serving, "open_input_audio", record_loop)
    asyncio.run(jobs.handle(make_job()))
    assert threads == [None]


def test_a_clip_too_large_for_an_answer_names_the_bucket(jobs: RunPodJobs) -> None:
    answer = asyncio.run(jobs.handle(make_job(30.0, variations=8)))
    assert answer["error"].startswith("inline_too_large: ")
    assert "MUSICGEN_BUCKET" in answer["error"]


def test_an_unexpected_error_is_logged_and_not_told(
    jobs: RunPodJobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(Predictor, "start", broken)
    for answer in (asyncio.run(jobs.handle(make_job())), *stream_job(jobs, make_job())):
        assert answer == {"error": "internal_error: " + answer["error"].partition(": ")[2]}
        assert "secret" not in answer["error"]
    assert caplog.text.count("KeyError: '/secret/path'") == 2


def test_only_a_lost_device_asks_for_another_worker(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: Exception = errors.DeviceFault("cuda:0 is lost")

    def failing(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(Predictor, "start", failing)
    replaced: list[str] = []
    jobs = RunPodJobs(predictor, SETTINGS, replace_worker=lambda: replaced.append("asked"))
    posted = asyncio.run(run_job(jobs.handle, make_job()))
    assert posted == {"error": "device_fault: cuda:0 is lost", "stopPod": True}
    assert stream_job(jobs, make_job()) == [{"error": "device_fault: cuda:0 is lost"}]
    assert replaced == ["asked"]
    raised = errors.OutOfMemory("ask for less")
    posted = asyncio.run(run_job(jobs.handle, make_job()))
    assert posted == {"error": "out_of_memory: ask for less"}
    assert stream_job(jobs, make_job()) == [{"error": "out_of_memory: ask for less"}]
    assert replaced == ["asked"]


def test_an_error_can_always_be_sent(jobs: RunPodJobs) -> None:
    """The SDK encodes as UTF-8, which has no lone surrogates: the job would never be answered."""
    answer = asyncio.run(jobs.handle(make_job(**{"\ud800": 1})))
    assert answer["error"].encode().startswith(b"unknown_field: \\ud800 is not a field")
    answer = asyncio.run(jobs.handle(make_job(prompt="\ud800")))
    json.dumps(answer, ensure_ascii=False).encode()
    assert "clips" not in answer


@pytest.mark.parametrize("job_id", ["c80ffee4-f315-4e25-a146-0f3d98cf024b-u1", "sync-1.2_3", "a"])
def test_a_safe_id_names_the_job(job_id: str) -> None:
    assert build_job_id({"id": job_id}) == job_id


@pytest.mark.parametrize(
    "job_id", ["../up", "a/b", ".hidden", "a\nb", "é", "\ud800", "a" * 200, 7.5]
)
def test_another_id_becomes_a_safe_one_that_is_its_own(job_id: object) -> None:
    name = build_job_id({"id": job_id})
    assert name is not None and name.isascii() and "/" not in name and len(name) <= 128
    assert name == build_job_id({"id": job_id}) != build_job_id({"id": f"{job_id}x"})
    assert build_job_id({}) is None


def test_the_worker_takes_as_many_jobs_as_there_are_slots() -> None:
    predictor = Predictor.load(replace(SETTINGS, slots=3))
    jobs = RunPodJobs(predictor, SETTINGS)
    assert [jobs.concurrency(n) for n in (1, 3, 9)] == [3, 3, 3]
