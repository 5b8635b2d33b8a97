"""Streamed jobs of RunPod, and cancelled ones."""

from __future__ import annotations

import asyncio
import base64

import pytest

from handlers import runpod_job
from handlers.runpod_job import LIVE_TYPES, STREAMED_NOTE, RunPodJobs
from musicgen.audio.encode import content_type
from musicgen.audio.live_encoder import LIVE_FORMATS
from musicgen.predictor import Predictor
from musicgen.settings import Settings
from tests.support.counting_predictor import CountingPredictor
from tests.support.runpod_jobs import make_job, stream_job

SETTINGS = Settings(threads=1)


@pytest.fixture(scope="module")
def predictor() -> CountingPredictor:
    return CountingPredictor(Predictor.load(SETTINGS))


@pytest.fixture
def jobs(predictor: CountingPredictor) -> RunPodJobs:
    return RunPodJobs(predictor, SETTINGS)


@pytest.mark.parametrize("variations", [1, 2])
def test_streamed_pieces_are_one_file_for_each_clip(
    jobs: RunPodJobs, variations: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runpod_job, "PIECE_MAX_BYTES", 10_000)
    *pieces, last = stream_job(jobs, make_job(2.0, variations=variations))
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
    [answer] = stream_job(jobs, make_job(output_format="opus"))
    assert answer["error"].startswith("unknown_format: output_format must be one of wav, mp3")


def test_a_cancelled_job_has_stopped_when_its_task_ends(
    jobs: RunPodJobs, predictor: CountingPredictor
) -> None:
    async def main() -> None:
        task = asyncio.create_task(jobs.handle(make_job(30.0)))
        while not predictor.running:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert predictor.running == 0
        assert "clips" in await jobs.handle(make_job())

    asyncio.run(main())


async def _wait_until_idle(predictor: CountingPredictor) -> None:
    while predictor.running:
        await asyncio.sleep(0.005)


def test_a_stream_cancelled_while_a_piece_is_sent_stops(
    jobs: RunPodJobs, predictor: CountingPredictor
) -> None:
    """The generator then stands at its yield, and the SDK keeps the task that holds it."""

    async def main() -> None:
        sending = asyncio.Event()

        async def worker() -> None:
            async for _ in stream:
                sending.set()
                await asyncio.sleep(3600)

        stream = jobs.handle_stream(make_job(30.0))
        task = asyncio.create_task(worker())
        await sending.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(_wait_until_idle(predictor), 60)
        await stream.aclose()

    asyncio.run(main())
