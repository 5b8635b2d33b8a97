"""Cog's translation, on a predictor that makes text files instead of music."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handlers.cog_run import (
    KEPT_SECONDS,
    CogRun,
    PredictionError,
    ProgressLog,
    build_metrics,
    format_progress_line,
)
from musicgen.errors import CheckpointCorrupt, DeviceFault, OutOfMemory
from musicgen.result import Progress
from tests.support.fake_predictor import STEPS, FakePredictor, result_of

# The expression with which Replicate's clients find the progress in the logs of a prediction.
REPLICATE_PROGRESS = re.compile(
    r"^\s*(?P<percentage>\d+)%\s*\|.+?\|\s*(?P<current>\d+)/(?P<total>\d+)"
)
DEADLINE = 60.0


class Cancelled(BaseException):
    """Like Cog's: not an Exception, raised between any two instructions."""


@dataclass
class Worker:
    """A `CogRun` with what it said and recorded."""

    predictor: FakePredictor
    lines: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    write_line: Callable[[str], None] | None = None
    concurrency: int = 1

    def __post_init__(self) -> None:
        self.cog_run = CogRun(
            self.predictor,
            self.predictor.folder,
            write_line=self.write_line or self.lines.append,
            concurrency=self.concurrency,
        )

    async def one(self, **arguments: Any) -> str:
        return await self.cog_run.generate({"prompt": "x"} | arguments, self.metrics.__setitem__)

    def run(self, **arguments: Any) -> Path:
        return Path(asyncio.run(self.one(**arguments)))

    def pieces(self, **arguments: Any) -> Generator[str, None, None]:
        return self.cog_run.stream({"prompt": "x"} | arguments, self.metrics.__setitem__)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.predictor.folder.rglob("*") if path.is_file())


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(FakePredictor(tmp_path / "out"))


def test_what_cog_passes_becomes_the_request(worker: Worker) -> None:
    worker.run(prompt="calm", seed=0, duration=2.5, output_format="mp3", input_audio=None)
    worker.run(seed=-1)
    first, second = worker.predictor.requests
    assert (first.prompt, first.seed, first.duration) == ("calm", 0, 2.5)
    assert second.seed is None


@pytest.mark.parametrize("audio", ["/etc/hostname", "file:///etc/hostname", "clip.wav", 5])
def test_a_file_of_this_machine_is_refused(worker: Worker, audio: object) -> None:
    """Guards the hole through which a caller reads files of the machine."""
    with pytest.raises(PredictionError, match=r"^invalid_input_audio: "):
        worker.run(input_audio=audio)
    with pytest.raises(PredictionError, match=r"^invalid_input_audio: "):
        list(worker.pieces(input_audio=audio))
    assert not worker.predictor.requests


def test_the_output_has_a_name_of_its_own(worker: Worker) -> None:
    """Guards `clip.wav` for everyone: Cog uploads under the bare file name."""
    first, second = worker.run(), worker.run()
    assert first.name != second.name
    assert second.suffix == ".wav"
    assert second.read_text() == "job-2"


def test_a_clip_in_a_bucket_is_told_by_its_address_as_it_is(worker: Worker) -> None:
    """Guards a path made of it, which has one slash less and no file."""
    worker.predictor.url = "https://bucket.example/a.wav?X-Amz-Signature=1"
    assert asyncio.run(worker.one()) == worker.predictor.url


def test_one_at_a_time_the_next_prediction_deletes_what_earlier_ones_left(worker: Worker) -> None:
    worker.predictor.slots = 2
    first = worker.run()
    assert first.exists(), "Cog sends it after run() has returned"
    second = worker.run()
    assert worker.files() == [second.name]


@pytest.mark.parametrize("slots", [1, 2])
def test_with_several_at_once_only_what_is_old_is_deleted(tmp_path: Path, slots: int) -> None:
    """Guards the output of another prediction that is written or still being sent.

    With one slot for several predictions all of it was deleted.
    """
    worker = Worker(FakePredictor(tmp_path / "out"), concurrency=2)
    worker.predictor.slots = slots
    first, second = worker.run(), worker.run()
    moment = time.time() - KEPT_SECONDS - 60
    os.utime(first, (moment, moment))
    third = worker.run()
    assert worker.files() == sorted([second.name, third.name])


def test_a_refused_prediction_also_deletes_what_earlier_ones_left(worker: Worker) -> None:
    worker.run()
    with pytest.raises(PredictionError):
        worker.run(duration=0.0)
    assert worker.files() == []


def test_a_folder_that_a_cleaner_took_away_is_no_failure(worker: Worker) -> None:
    path = worker.run()
    path.unlink()
    worker.predictor.folder.joinpath("2025-01-31").rmdir()
    worker.predictor.folder.rmdir()
    assert worker.run().exists()


def test_metrics_and_logs_name_the_seed_that_was_used(worker: Worker) -> None:
    worker.run()
    assert worker.metrics["seed"] == 7
    assert worker.metrics["audio_seconds"] == 2.0
    assert worker.metrics["real_time_factor"] == 0.5
    assert worker.metrics["decode_seconds"] == 1.0
    assert worker.metrics["loudness_lufs"] == -14.0
    assert any(line.startswith("seed 7, ") for line in worker.lines)
    assert "note: a note" in worker.lines


def test_a_model_in_a_folder_is_shown_without_the_folders_above_it(tmp_path: Path) -> None:
    worker = Worker(FakePredictor(tmp_path / "out", model="/srv/secret/fine-tuned"))
    worker.run()
    assert worker.metrics["model"] == "fine-tuned"
    assert "secret" not in str(worker.lines)


def test_loudness_that_is_not_defined_is_not_a_metric(tmp_path: Path) -> None:
    result = result_of("x", "job", 1, "demo")
    silent = replace(result, clips=(replace(result.clips[0], loudness_lufs=None),))
    assert "loudness_lufs" not in build_metrics(silent)


def _list_reported_steps(tick: float) -> list[int]:
    """Return the steps with a progress line when every step takes `tick` seconds."""
    lines: list[str] = []
    times = iter(tick * turn for turn in range(1000))
    progress_log = ProgressLog(lines.append, lambda: next(times), {"duration": 2.0})
    for done in range(1, STEPS + 1):
        progress_log.update(Progress(done, STEPS))
    progress_log.update(Progress(STEPS, STEPS, (b"the rest",)))
    matches = [REPLICATE_PROGRESS.match(line) for line in lines]
    return [int(match["current"]) for match in matches if match]


def test_progress_is_said_at_most_once_a_second_and_ends_once_at_100_percent() -> None:
    seen = _list_reported_steps(0.5)
    assert seen[-1] == STEPS
    assert seen.count(STEPS) == 1
    assert all(later - earlier >= 2 for earlier, later in pairwise(seen[:-1]))
    assert len(seen) >= 10


def test_slow_progress_is_said_once_in_five_percent() -> None:
    assert len(_list_reported_steps(60.0)) <= 21


def test_a_progress_line_is_what_replicates_clients_read() -> None:
    match = REPLICATE_PROGRESS.match(format_progress_line(Progress(113, 253), 1.8, 5.0))
    assert match is not None
    assert match.groupdict() == {"percentage": "44", "current": "113", "total": "253"}
    assert format_progress_line(Progress(50, 100), 2.0, 5.0).endswith("real-time factor 0.80")


def test_a_typed_error_is_told_with_its_code_and_no_cause(worker: Worker) -> None:
    with pytest.raises(PredictionError, match=r"^empty_prompt: prompt must not be empty") as caught:
        worker.run(prompt="")
    assert caught.value.__suppress_context__


def test_an_unexpected_error_goes_to_the_operators_log_only(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.predictor.fails = RuntimeError("/secret/place")
    with caplog.at_level(logging.ERROR), pytest.raises(PredictionError) as caught:
        worker.run()
    assert str(caught.value).startswith("internal_error: ")
    assert "secret" not in str(caught.value) + "".join(worker.lines)
    assert "/secret/place" in caplog.text


def test_only_a_fault_of_the_device_makes_the_worker_unhealthy(worker: Worker) -> None:
    """A request that was too large concerns nobody else: no worker is replaced for it."""
    for error in (OutOfMemory("too long"), RuntimeError("x")):
        worker.predictor.fails = error
        with pytest.raises(PredictionError):
            worker.run()
        assert worker.cog_run.is_healthy
    worker.predictor.fails = DeviceFault("cuda:0 failed")
    with pytest.raises(PredictionError, match=r"^device_fault: cuda:0 failed"):
        worker.run()
    assert not worker.cog_run.is_healthy


def test_a_cancelled_prediction_stops_its_decode_and_the_next_one_works(worker: Worker) -> None:
    """Guards a thread that decodes on unseen, and an `except` that swallows the cancellation."""
    worker.predictor.endless = True

    async def main() -> None:
        task = asyncio.create_task(worker.one())
        await asyncio.to_thread(worker.predictor.begun.wait, DEADLINE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert worker.predictor.given_up == 1

    asyncio.run(main())
    worker.predictor.endless = False
    assert worker.run().exists()


def test_the_pieces_come_first_and_the_whole_clip_last(worker: Worker) -> None:
    found = [Path(address) for address in worker.pieces()]
    assert [path.read_bytes() for path in found] == [b"10", b"20", b"30", b"40", b"job-1"]
    assert len({path.name for path in found}) == 5
    assert {path.suffix for path in found} == {".wav"}
    assert worker.metrics["seed"] == 7
    list(worker.pieces())
    assert len(worker.files()) == 5, "those of the first prediction are gone"


def test_a_stream_that_is_cancelled_is_given_up(tmp_path: Path) -> None:
    """Guards a generation that stays open when Cog throws its cancellation into `run()`."""
    worker = Worker(FakePredictor(tmp_path))
    with closing(worker.pieces()) as pieces:
        next(pieces)
        with pytest.raises(Cancelled):
            pieces.throw(Cancelled())
    assert worker.predictor.given_up == 1
    assert len(list(worker.pieces())) == 5


def test_a_caller_that_names_no_model_gets_the_first_one(worker: Worker) -> None:
    """Guards a result that depends on who came before."""
    worker.run()
    worker.run(model_version="small")
    assert worker.metrics["model"] == "small"
    assert "loading model small" in worker.lines
    worker.run(model_version="small")
    worker.run()
    assert worker.predictor.switches == ["small", "demo"]


def test_after_a_failed_switch_the_first_model_serves_on(worker: Worker) -> None:
    worker.predictor.switch_fails = CheckpointCorrupt("truncated")
    with pytest.raises(PredictionError, match=r"^checkpoint_corrupt: The server cannot use"):
        worker.run(model_version="small")
    worker.run()
    assert worker.predictor.switches == ["small", "demo"]
