"""Jobs of RunPod on the embedded model, without the SDK's loop around them."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import struct
import wave
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from runpod.serverless.modules.rp_handler import is_generator
from runpod.serverless.modules.rp_job import run_job

from handlers import runpod_job, runpod_progress
from handlers.runpod_bucket import bucket_of
from handlers.runpod_job import LIVE_TYPES, STREAMED_NOTE, RunPodJobs, job_id_of
from handlers.runpod_progress import ProgressPosts, text_of
from musicgen import errors
from musicgen.audio.encode import content_type
from musicgen.audio.live_encoder import LIVE_FORMATS
from musicgen.predictor import Predictor
from musicgen.result import Progress
from musicgen.settings import BucketSettings, Settings

SETTINGS = Settings(threads=1)
S3_CONFIG = {
    "accessId": "AKIDJOB",
    "accessSecret": "hush-hush",
    "bucketName": "music-out",
    "endpointUrl": "https://s3.example.com",
}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(SETTINGS)


@pytest.fixture
def jobs(predictor: Predictor) -> RunPodJobs:
    return RunPodJobs(predictor, SETTINGS)


def _job(duration: float = 0.2, **fields: Any) -> dict[str, Any]:
    return {"id": "job-1", "input": {"prompt": "x", "duration": duration, "seed": 7} | fields}


def _streamed(jobs: RunPodJobs, job: dict[str, Any]) -> list[dict[str, Any]]:
    async def main() -> list[dict[str, Any]]:
        return [piece async for piece in jobs.handle_stream(job)]

    return asyncio.run(main())


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
    reply = asyncio.run(jobs.handle(_job(variations=2)))
    assert json.loads(json.dumps(reply, allow_nan=False)) == reply
    assert (reply["job_id"], reply["seed"], reply["licence"]) == ("job-1", 7, "Apache-2.0")
    assert [clip["seed"] for clip in reply["clips"]] == [7, 8]
    for clip in reply["clips"]:
        assert len(base64.b64decode(clip["audio"], validate=True)) == clip["bytes"]


@pytest.mark.parametrize("job", [{}, {"input": None}, {"input": []}, {"input": "a prompt"}])
def test_an_input_that_is_no_object_is_named(jobs: RunPodJobs, job: dict[str, Any]) -> None:
    for answer in (asyncio.run(jobs.handle(job)), *_streamed(jobs, job)):
        assert list(answer) == ["error"]
        assert answer["error"].startswith("invalid_request: input=")


def test_input_audio_is_continued_and_its_copy_is_gone(
    jobs: RunPodJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    audio = base64.b64encode(_tone()).decode()
    reply = asyncio.run(jobs.handle(_job(1.2, input_audio=audio, continuation=True)))
    assert reply["clips"][0]["seconds"] == 1.2
    assert list(tmp_path.iterdir()) == []


def test_the_loop_runs_on_while_the_input_audio_is_fetched(
    jobs: RunPodJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download on the loop's thread would keep the worker from hearing of anything else."""
    threads = []
    real = runpod_job.with_input_audio

    def noted(*arguments: Any) -> Any:
        try:
            threads.append(asyncio.get_running_loop())
        except RuntimeError:
            threads.append(None)
        return real(*arguments)

    monkeypatch.setattr(runpod_job, "with_input_audio", noted)
    asyncio.run(jobs.handle(_job()))
    assert threads == [None]


def test_a_clip_too_large_for_an_answer_names_the_bucket(jobs: RunPodJobs) -> None:
    answer = asyncio.run(jobs.handle(_job(30.0, variations=8)))
    assert answer["error"].startswith("inline_too_large: ")
    assert "MUSICGEN_BUCKET" in answer["error"]


def test_an_unexpected_error_is_logged_and_not_told(
    jobs: RunPodJobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(Predictor, "start", broken)
    for answer in (asyncio.run(jobs.handle(_job())), *_streamed(jobs, _job())):
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
    posted = asyncio.run(run_job(jobs.handle, _job()))
    assert posted == {"error": "device_fault: cuda:0 is lost", "stopPod": True}
    assert _streamed(jobs, _job()) == [{"error": "device_fault: cuda:0 is lost"}]
    assert replaced == ["asked"]
    raised = errors.OutOfMemory("ask for less")
    posted = asyncio.run(run_job(jobs.handle, _job()))
    assert posted == {"error": "out_of_memory: ask for less"}
    assert _streamed(jobs, _job()) == [{"error": "out_of_memory: ask for less"}]
    assert replaced == ["asked"]


def test_an_error_can_always_be_sent(jobs: RunPodJobs) -> None:
    """The SDK encodes as UTF-8, which has no lone surrogates: the job would never be answered."""
    answer = asyncio.run(jobs.handle(_job(**{"\ud800": 1})))
    assert answer["error"].encode().startswith(b"unknown_field: \\ud800=1")
    answer = asyncio.run(jobs.handle(_job(prompt="\ud800")))
    json.dumps(answer, ensure_ascii=False).encode()
    assert "clips" not in answer


@pytest.mark.parametrize("variations", [1, 2])
def test_streamed_pieces_are_one_file_for_each_clip(
    jobs: RunPodJobs, variations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runpod_job, "PIECE_MAX_BYTES", 10_000)
    *pieces, last = _streamed(jobs, _job(2.0, variations=variations))
    assert {piece["index"] for piece in pieces} == set(range(variations))
    for index in range(variations):
        parts = [base64.b64decode(p["audio"]) for p in pieces if p["index"] == index]
        assert max(map(len, parts)) <= 10_000
        wav = b"".join(parts)
        assert len(wav) - wav.index(b"data") - 8 == 2 * 64_000
    result = last["result"]
    assert result["notes"][-1] == STREAMED_NOTE
    for clip in result["clips"]:
        assert clip["samples"] == 64_000
        assert not {"audio", "url", "sha256", "bytes", "loudness_lufs"} & set(clip)


def test_the_types_of_pieces_are_those_of_stored_clips() -> None:
    assert {name: content_type(name) for name in LIVE_FORMATS} == LIVE_TYPES


def test_a_stream_in_a_format_that_cannot_be_streamed_fails(jobs: RunPodJobs) -> None:
    [answer] = _streamed(jobs, _job(output_format="opus"))
    assert answer["error"].startswith("unknown_format: output_format='opus'")


def test_a_cancelled_job_has_stopped_when_its_task_ends(jobs: RunPodJobs) -> None:
    async def main() -> None:
        task = asyncio.create_task(jobs.handle(_job(30.0)))
        while not jobs._serving._pool.users:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert jobs._serving._pool.users == 0
        assert "clips" in await jobs.handle(_job())

    asyncio.run(main())


async def _idle(jobs: RunPodJobs) -> None:
    while jobs._serving._pool.users:
        await asyncio.sleep(0.005)


def test_a_stream_cancelled_while_a_piece_is_sent_stops(jobs: RunPodJobs) -> None:
    """The generator then stands at its yield, and the SDK keeps the task that holds it."""

    async def main() -> None:
        sending = asyncio.Event()

        async def worker() -> None:
            async for _ in stream:
                sending.set()
                await asyncio.sleep(3600)

        stream = jobs.handle_stream(_job(30.0))
        task = asyncio.create_task(worker())
        await sending.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(_idle(jobs), 60)
        await stream.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("job_id", ["c80ffee4-f315-4e25-a146-0f3d98cf024b-u1", "sync-1.2_3", "a"])
def test_a_safe_id_names_the_job(job_id: str) -> None:
    assert job_id_of({"id": job_id}) == job_id


@pytest.mark.parametrize(
    "job_id", ["../up", "a/b", ".hidden", "a\nb", "é", "\ud800", "a" * 200, 7.5]
)
def test_another_id_becomes_a_safe_one_that_is_its_own(job_id: object) -> None:
    name = job_id_of({"id": job_id})
    assert name is not None and name.isascii() and "/" not in name and len(name) <= 128
    assert name == job_id_of({"id": job_id}) != job_id_of({"id": f"{job_id}x"})
    assert job_id_of({}) is None


def test_the_worker_takes_as_many_jobs_as_there_are_slots() -> None:
    predictor = Predictor.load(replace(SETTINGS, slots=3))
    jobs = RunPodJobs(predictor, SETTINGS)
    assert [jobs.concurrency(n) for n in (1, 3, 9)] == [3, 3, 3]


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[_Clock]:
    yield _Clock()


def _told(
    steps: list[tuple[float, int]], clock: _Clock, post: Callable[[str], Awaitable[None]]
) -> None:
    async def main() -> None:
        async with ProgressPosts(post, clock) as posts:
            for clock.now, done in steps:
                posts.tell(Progress(done, 100))
                await asyncio.sleep(0)

    asyncio.run(main())


def test_updates_are_a_second_and_a_twentieth_apart_and_never_the_last(clock: _Clock) -> None:
    sent: list[str] = []

    async def post(text: str) -> None:
        sent.append(text.partition("%")[0])

    steps = [(0.5, 20), (1.0, 21), (1.9, 60), (2.0, 25), (2.1, 26), (9.0, 70), (20.0, 100)]
    _told(steps, clock, post)
    assert sent == ["21", "26", "70"]
    assert text_of(Progress(180, 400)) == "45% (180/400 steps decoded)"


def test_one_update_is_under_way_at_a_time_and_is_waited_for(clock: _Clock) -> None:
    events: list[str] = []

    async def post(text: str) -> None:
        events.append("begun")
        await asyncio.sleep(0.05)
        events.append("answered")

    _told([(2.0, 20), (4.0, 40), (6.0, 60)], clock, post)
    assert events == ["begun", "answered"]


def test_a_result_does_not_wait_for_ever_for_an_update(
    clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runpod_progress, "LAST_POST_SECONDS", 0.01)
    events: list[str] = []

    async def post(text: str) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            events.append("stopped")

    _told([(2.0, 20)], clock, post)
    assert events == ["stopped"]


def test_an_update_that_fails_is_logged_and_no_more(
    clock: _Clock, caplog: pytest.LogCaptureFixture
) -> None:
    async def post(text: str) -> None:
        raise TimeoutError("no answer")

    with caplog.at_level(logging.WARNING):
        _told([(2.0, 20), (4.0, 40)], clock, post)
    assert caplog.text.count("an update could not be posted") == 2


def test_a_job_without_a_bucket_uses_the_operators() -> None:
    own = BucketSettings(name="operators")
    assert bucket_of(None, own) is own
    assert bucket_of({}, own) is own


def test_the_bucket_of_a_job_shares_only_the_operators_habits() -> None:
    own = BucketSettings(
        name="operators",
        prefix="songs",
        url_seconds=60,
        deadline=30.0,
        public_url="https://cdn.example.com",
        kms_key="key",
        encryption="aws:kms",
        access_key_id="own",
        secret_access_key="own",
    )
    assert bucket_of(S3_CONFIG, own) == BucketSettings(
        name="music-out",
        endpoint_url="https://s3.example.com",
        prefix="songs",
        url_seconds=60,
        deadline=30.0,
        access_key_id="AKIDJOB",
        secret_access_key="hush-hush",
    )


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://s3.us-west-2.amazonaws.com", "us-west-2"),
        ("https://music-out.s3.eu-central-1.amazonaws.com", "eu-central-1"),
        ("https://s3.us-west-004.backblazeb2.com", "us-west-004"),
        ("https://s3.amazonaws.com", None),
        ("http://127.0.0.1:9000", None),
        (None, None),
    ],
)
def test_the_region_is_the_one_that_the_address_names(url: str | None, region: str | None) -> None:
    """A signature for another region is refused."""
    bucket = bucket_of(S3_CONFIG | {"endpointUrl": url}, BucketSettings())
    assert (bucket.endpoint_url, bucket.region) == (url, region)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accessId", None),
        ("accessId", 5),
        ("accessSecret", ""),
        ("accessSecret", "hush\nhush"),
        ("bucketName", None),
        ("bucketName", "../other"),
        ("bucketName", "a"),
        ("endpointUrl", "s3.example.com"),
        ("endpointUrl", "file:///etc"),
        ("endpointUrl", "https://user:hush-hush@s3.example.com"),
        ("endpointUrl", "http://[::1"),
        ("endpointUrl", "http://s3.example.com:99999"),
        ("endpointUrl", "http://s3.example.com/?x=y"),
        ("endpointUrl", 5),
    ],
)
def test_what_is_wrong_with_s3config_is_named_without_its_secrets(
    jobs: RunPodJobs, field: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    job = {**_job(), "s3Config": S3_CONFIG | {field: value}}
    answer = asyncio.run(jobs.handle(job))
    assert answer["error"].startswith(f"invalid_request: s3Config.{field}=")
    assert "hush" not in answer["error"] + caplog.text


def test_an_s3config_that_is_no_object_is_named(jobs: RunPodJobs) -> None:
    answer = asyncio.run(jobs.handle({**_job(), "s3Config": "hush-hush"}))
    assert answer["error"].startswith("invalid_request: s3Config='str'")
