"""Cog's translation, on a predictor that makes text files instead of music."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from handlers.cog_run import CogRun, PredictionError, metrics_of, progress_line, request_from
from musicgen.errors import CheckpointCorrupt, InvalidInputAudio, InvalidSeed
from musicgen.generation import Generation
from musicgen.request import GenerationRequest
from musicgen.result import Clip, GenerationResult, Progress, Timings

# The expression with which Replicate's clients find the progress in the logs of a prediction.
REPLICATE_PROGRESS = re.compile(
    r"^\s*(?P<percentage>\d+)%\s*\|.+?\|\s*(?P<current>\d+)/(?P<total>\d+)"
)
STEPS = 40


class Cancelled(BaseException):
    """Like Cog's: not an Exception, raised between any two instructions."""


@dataclass
class FakePredictor:
    folder: Path
    model: str = "demo"
    licence: str = "Apache-2.0"
    fails: Exception | None = None
    switch_fails: Exception | None = None
    requests: list[GenerationRequest] = field(default_factory=list)
    switches: list[str] = field(default_factory=list)
    given_up: int = 0

    def start(self, request: GenerationRequest, job_id: str | None = None) -> Generation:
        self.requests.append(request)
        name = f"job-{len(self.requests)}"
        return Generation(name, self._steps(request, name))

    def switch_model(self, name: str) -> None:
        self.switches.append(name)
        if self.switch_fails:
            raise self.switch_fails
        self.model = name

    def _steps(
        self, request: GenerationRequest, name: str
    ) -> Generator[Progress, None, GenerationResult]:
        try:
            for done in range(1, STEPS + 1):
                yield Progress(done, STEPS)
            if self.fails:
                raise self.fails
        except GeneratorExit:
            self.given_up += 1
            raise
        path = self.folder / "2025-01-31" / name / "clip.wav"
        path.parent.mkdir(parents=True)
        path.write_text(name)
        return _result(path, name, 7 if request.seed is None else request.seed, self.model)


def _result(path: Path, job_id: str, seed: int, model: str) -> GenerationResult:
    clip = Clip(
        address=str(path), seed=seed, seconds=2.0, samples=64000, sample_rate=32000, channels=1,
        format="wav", bytes=5, sha256="0", loudness_lufs=-14.0, peak=0.5, clipped_samples=0,
    )  # fmt: skip
    return GenerationResult(
        job_id=job_id, clips=(clip,), prompt="x", seed=seed, seconds=2.0, model=model,
        licence="Apache-2.0", engine="fake", device="cpu", precision="float32", steps=STEPS,
        timings=Timings(decode=1.0), notes=("a note",),
    )  # fmt: skip


@dataclass
class Worker:
    """A `CogRun` with what it said and recorded; every look at the clock takes `tick` seconds."""

    predictor: FakePredictor
    lines: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    tick: float = 0.5
    now: float = 0.0
    say: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        say = self.say or self.lines.append
        self.run_once = CogRun(self.predictor, self.predictor.folder, say, self._clock)

    def run(self, **arguments: Any) -> Path:
        return self.run_once({"prompt": "x"} | arguments, self.metrics.__setitem__)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.predictor.folder.rglob("*") if path.is_file())

    def _clock(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(FakePredictor(tmp_path / "out"))


@pytest.mark.parametrize("seed", [None, -1])
def test_none_and_minus_one_ask_for_a_random_seed(seed: int | None) -> None:
    assert request_from({"prompt": "x", "seed": seed}).seed is None


def test_seed_zero_is_a_seed() -> None:
    """Guards `if not seed`, with which the peer makes 0 random."""
    assert request_from({"prompt": "x", "seed": 0}).seed == 0


def test_a_seed_below_minus_one_is_refused() -> None:
    with pytest.raises(InvalidSeed):
        request_from({"prompt": "x", "seed": -2})


@pytest.mark.parametrize(
    "audio", ["/etc/hostname", "file:///etc/hostname", "clip.wav", Path("clip.wav"), 5]
)
def test_audio_that_cog_did_not_fetch_is_refused(audio: object) -> None:
    """Guards the hole through which a caller reads files of the machine."""
    with pytest.raises(InvalidInputAudio):
        request_from({"prompt": "x", "input_audio": audio})


def test_audio_that_cog_fetched_is_taken(tmp_path: Path) -> None:
    assert request_from({"prompt": "", "input_audio": tmp_path / "a.wav"}).input_audio is not None


def test_the_output_has_a_name_of_its_own(worker: Worker) -> None:
    """Guards `clip.wav` for everyone: Cog uploads under the bare file name."""
    first, second = worker.run(), worker.run()
    assert first.name != second.name
    assert second.suffix == ".wav"
    assert second.read_text() == "job-2"


def test_the_next_prediction_deletes_what_earlier_ones_left(worker: Worker) -> None:
    first = worker.run()
    assert first.exists(), "Cog sends it after run() has returned"
    second = worker.run()
    assert worker.files() == [second.name]


def test_a_refused_prediction_also_deletes_what_earlier_ones_left(worker: Worker) -> None:
    worker.run()
    with pytest.raises(PredictionError):
        worker.run(duration=0.0)
    assert worker.files() == []


def test_a_folder_that_a_cleaner_took_away_is_no_failure(worker: Worker) -> None:
    path = worker.run()
    path.unlink()
    worker.predictor.folder.joinpath("2025-01-31", "job-1").rmdir()
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


def test_loudness_that_is_not_defined_is_not_a_metric(tmp_path: Path) -> None:
    result = _result(tmp_path, "job", 1, "demo")
    silent = Clip(**{**vars(result.clips[0]), "loudness_lufs": None})
    assert "loudness_lufs" not in metrics_of(
        GenerationResult(**{**vars(result), "clips": (silent,)})
    )


def test_progress_is_said_at_most_once_a_second_and_ends_at_100_percent(worker: Worker) -> None:
    worker.run()
    found = [REPLICATE_PROGRESS.match(line) for line in worker.lines]
    seen = [int(match["current"]) for match in found if match]
    assert seen[-1] == STEPS
    assert all(later - earlier >= 2 for earlier, later in pairwise(seen[:-1]))
    assert len(seen) >= 10


def test_slow_progress_is_said_once_in_five_percent(tmp_path: Path) -> None:
    worker = Worker(FakePredictor(tmp_path), tick=60.0)
    worker.run()
    assert sum(bool(REPLICATE_PROGRESS.match(line)) for line in worker.lines) <= 21


def test_a_progress_line_is_what_replicates_clients_read() -> None:
    match = REPLICATE_PROGRESS.match(progress_line(Progress(113, 253), 1.8, 5.0))
    assert match is not None
    assert match.groupdict() == {"percentage": "44", "current": "113", "total": "253"}
    assert progress_line(Progress(50, 100), 2.0, 5.0).endswith("real-time factor 0.80")


def test_a_typed_error_is_told_with_its_code_and_no_cause(worker: Worker) -> None:
    with pytest.raises(PredictionError, match=r"^empty_prompt: prompt='' is not allowed") as told:
        worker.run(prompt="")
    assert told.value.__suppress_context__


def test_an_unexpected_error_goes_to_the_operators_log_only(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    worker.predictor.fails = RuntimeError("/secret/place")
    with caplog.at_level(logging.ERROR), pytest.raises(PredictionError) as told:
        worker.run()
    assert str(told.value).startswith("internal_error: ")
    assert "secret" not in str(told.value) + "".join(worker.lines)
    assert "/secret/place" in caplog.text


def test_a_cancelled_prediction_is_given_up_and_the_next_one_works(tmp_path: Path) -> None:
    """Guards a generation that stays open, and an `except` that swallows the cancellation."""
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            raise Cancelled

    worker = Worker(FakePredictor(tmp_path), say=say)
    with pytest.raises(Cancelled):
        worker.run()
    assert worker.predictor.given_up == 1
    assert worker.run().exists()


def test_a_caller_that_names_no_model_gets_the_first_one(worker: Worker) -> None:
    """Guards a result that depends on who came before."""
    worker.run()
    worker.run(model_version="small")
    assert worker.predictor.model == "small"
    assert any("loaded small (licence Apache-2.0)" in line for line in worker.lines)
    worker.run(model_version="small")
    worker.run()
    assert worker.predictor.switches == ["small", "demo"]


def test_after_a_failed_switch_the_first_model_serves_on(worker: Worker) -> None:
    worker.predictor.switch_fails = CheckpointCorrupt("truncated")
    with pytest.raises(PredictionError, match=r"^checkpoint_corrupt: truncated"):
        worker.run(model_version="small")
    worker.run()
    assert worker.predictor.switches == ["small"]
